// Package lookup has constant tables. A map in a package variable is built whenever a
// process starts; a table of constants is data of the program, which costs a process
// nothing until it looks something up. Keys are found one after the other, so a table
// should have at most some hundred.
package lookup

// A Table is a list of keys and their values. Each key is there once.
type Table[K comparable, V any] []struct {
	Key   K
	Value V
}

// Find returns the value of key.
func (t Table[K, V]) Find(key K) (value V, found bool) {
	for i := range t {
		if t[i].Key == key {
			return t[i].Value, true
		}
	}
	return value, false
}

// Get returns the value of key, or the zero value if key is not in the table.
func (t Table[K, V]) Get(key K) V {
	value, _ := t.Find(key)
	return value
}

// Has reports whether key is in the table.
func (t Table[K, V]) Has(key K) bool {
	_, found := t.Find(key)
	return found
}

// Keys returns the keys, in the order of the table.
func (t Table[K, V]) Keys() []K {
	keys := make([]K, len(t))
	for i := range t {
		keys[i] = t[i].Key
	}
	return keys
}
