package sharedfile

import "golang.org/x/sys/windows"

const isPOSIX = false

const openFlags = 0

const errLoop = windows.ERROR_CANT_RESOLVE_FILENAME
