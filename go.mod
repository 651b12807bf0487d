module midge

go 1.26
