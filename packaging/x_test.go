package main

import _ "github.com/holdfast-dev/holdfast/signer/signertest"
