package isolated

func protect() error { return nil }
