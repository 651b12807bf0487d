package pebblestore

const ballastName = "ballast-"
