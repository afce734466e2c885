package program_test

func lie() {}
