// Command ssh uses a key in a device for SSH: it prints the public key, signs certificates
// of users and hosts with the key of a CA, and is an agent with the key for ssh and git:
//
//	ssh public KEY
//	ssh user CA-KEY FILE.pub USER
//	ssh host CA-KEY FILE.pub HOST
//	ssh agent KEY SOCKET
package main

import (
	"context"
	"crypto"
	"crypto/rand"
	"errors"
	"io"
	"log"
	"net"
	"os"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/keystore/all"
)

func main() {
	if len(os.Args) < 3 {
		log.Fatal("usage: ssh public|user|host|agent KEY ARGUMENT...")
	}
	if err := run(context.Background(), os.Args[1], os.Args[2], os.Args[3:], os.Stdout); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, command, ref string, args []string, out io.Writer) error {
	r, err := keystore.ParseRef(ref)
	if err != nil {
		return err
	}
	key, err := all.New().Open(ctx, r, keystore.Options{LookupEnv: os.LookupEnv})
	if err != nil {
		return err
	}
	defer key.Close()
	s, err := newSigner(key)
	switch {
	case err != nil:
		return err
	case command == "public":
		_, err = out.Write(ssh.MarshalAuthorizedKey(s.PublicKey()))
	case command == "user" && len(args) == 2:
		err = certify(s, ssh.UserCert, args[0], args[1], out)
	case command == "host" && len(args) == 2:
		err = certify(s, ssh.HostCert, args[0], args[1], out)
	case command == "agent" && len(args) == 1:
		l, err := (&net.ListenConfig{}).Listen(ctx, "unix", args[0]) // in a folder of the user alone
		if err != nil {
			return err
		}
		return serve(key, l)
	default:
		err = errors.New("unknown command, or the number of arguments is wrong")
	}
	return err
}

// newSigner returns a signer without ssh-rsa. That has SHA-1, which Holdfast refuses, but
// NewSignerFromSigner alone offers it for an RSA key, and the certificates of a CA get it.
func newSigner(key crypto.Signer) (ssh.Signer, error) {
	s, err := ssh.NewSignerFromSigner(key)
	if err != nil || s.PublicKey().Type() != ssh.KeyAlgoRSA {
		return s, err
	}
	return ssh.NewSignerWithAlgorithms(s.(ssh.AlgorithmSigner), []string{ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256})
}

// certify writes a certificate of a public key, in the form of the file FILE-cert.pub.
func certify(ca ssh.Signer, kind uint32, file, name string, out io.Writer) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	public, _, _, _, err := ssh.ParseAuthorizedKey(data)
	if err != nil {
		return err
	}
	now := time.Now()
	cert := &ssh.Certificate{
		Key:             public,
		CertType:        kind,
		KeyId:           name,
		ValidPrincipals: []string{name},
		ValidAfter:      uint64(now.Add(-time.Minute).Unix()),
		ValidBefore:     uint64(now.Add(8 * time.Hour).Unix()),
	}
	if kind == ssh.UserCert {
		cert.Permissions.Extensions = map[string]string{"permit-pty": ""}
	}
	if err := cert.SignCert(rand.Reader, ca); err != nil {
		return err
	}
	_, err = out.Write(ssh.MarshalAuthorizedKey(cert))
	return err
}

// serve is an agent until l is closed. Clients of OpenSSH 7.2 and later ask for SHA-2; a
// request for ssh-rsa fails.
func serve(key crypto.Signer, l net.Listener) error {
	ring := agent.NewKeyring()
	if err := ring.Add(agent.AddedKey{PrivateKey: key, Comment: "a key of Holdfast"}); err != nil {
		return err
	}
	for {
		conn, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer conn.Close()
			if err := agent.ServeAgent(ring, conn); !errors.Is(err, io.EOF) {
				log.Print(err)
			}
		}()
	}
}
