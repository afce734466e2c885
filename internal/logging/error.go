package logging

// Error returns the attributes of an error for a [log/slog.Logger]: error and, unless it
// is "", hint.
func Error(err error, hint string) []any {
	attributes := []any{"error", err}
	if hint != "" {
		attributes = append(attributes, "hint", hint)
	}
	return attributes
}
