// Package winstoretest adds keys and certificates to the stores of Windows or
// Wine for a test, and removes them when the test ends. It is empty on other
// systems.
package winstoretest
