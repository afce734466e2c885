package pkcs11

import "os"

// checkHelper checks that the program exists. Windows protects C:\Program Files.
func checkHelper(path string) error {
	_, err := os.Stat(path)
	return err
}
