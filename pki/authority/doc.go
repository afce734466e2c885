// Package authority keeps the state of a small certification authority in a
// folder:
//
//	ca.pem                  the certificate of the CA, then its issuers
//	certificates/SERIAL.pem the certificates that it issued
//	index.jsonl             what it did, one event per line, append-only
//	crl.pem                 the last revocation list
//	lock                    excludes other writers
//	renew.lock              excludes other renewals, also while a device signs
//
// An event is in the index, on disk, before its result exists: a certificate or
// revocation list without an event cannot exist, and no serial number or CRL
// number is used twice, also if the program is killed or the disk is full. Each
// line contains the hash of the line before it, so that an index that lacks a
// line in its middle, or was changed, is recognised. A last line without a line
// end is from a writer that was killed; the next writer removes it. Lines that
// are missing at the end, as after an old backup, show only if the folder has a
// certificate or a revocation list that the index does not contain. Repair adds
// what these prove.
//
// The folder contains no private key. Several processes may use it at the same
// time, but not over a network file system without locks. A signature is made
// outside of the lock, except for a revocation list: a device that waits for a
// touch does not stop other writers.
package authority
