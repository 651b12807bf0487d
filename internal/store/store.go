// Package store is what Midge keeps on disk: the records, their keys and their
// encoding, and the committer, which puts the work of all shards on disk with
// few syncs. docs/format/store.md describes the format.
//
// Where the bytes lie is the business of a Backend.
package store
