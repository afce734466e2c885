// Package ptytest has pseudo terminals for tests.
package ptytest
