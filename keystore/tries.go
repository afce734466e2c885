package keystore

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// A TryCounter reports how many tries for a PIN or password its devices leave.
type TryCounter interface {
	Backend
	// Tries returns the counts of the devices that ref can be in. It uses no
	// try and asks for no PIN.
	Tries(ctx context.Context, ref Ref, call Call) ([]Tries, error)
}

// Tries is the count of incorrect PINs of a device.
type Tries struct {
	Device string // such as the label of a token or the path of a TPM

	// Left is how many tries are left before the device locks. It is -1 if
	// the device does not say so.
	Left int
	Used bool // an incorrect PIN was entered, and no correct one since then

	// Shared means that the device counts the tries for all its keys together,
	// also those of other programs, as a TPM does.
	Shared bool

	// Unblock is a command line that makes more tries possible, for a person
	// who has the secret that it asks for. "": none is known.
	Unblock string

	// Recovers is the time after which a TPM allows one more try. 0: the count
	// does not recover by itself.
	Recovers time.Duration
}

// String describes the count in words.
func (t Tries) String() string {
	switch {
	case t.Left == 0:
		return t.Device + ": locked, no try is left"
	case t.Left == 1:
		return t.Device + ": one try is left"
	case t.Left > 0:
		return fmt.Sprintf("%s: %d tries are left", t.Device, t.Left)
	case t.Used:
		return t.Device + ": an incorrect PIN was entered since the last login"
	}
	return t.Device + ": no failed tries"
}

// Tries returns the counts of the devices that ref can be in; see [TryCounter].
// It returns none, and an error that wraps [errors.ErrUnsupported], if the
// backend counts no tries. An error is a [*RefError] or a [*signer.Error].
func (s *Store) Tries(ctx context.Context, ref Ref, opts Options) ([]Tries, error) {
	call := s.begin(opts)
	defer call.end()
	b, err := s.backend(ctx, ref, call)
	if err != nil {
		return nil, err
	}
	const op = "count tries of"
	c, ok := b.(TryCounter)
	if !ok {
		return nil, wrap(b, op, ref, errors.ErrUnsupported)
	}
	tries, err := c.Tries(ctx, ref, call)
	return tries, wrap(b, op, ref, err)
}

// BackendOf returns the name of the backend that opens ref. It reads the file or
// the variable that ref names.
func (s *Store) BackendOf(ctx context.Context, ref Ref, opts Options) (string, error) {
	call := s.begin(opts)
	defer call.end()
	b, err := s.backend(ctx, ref, call)
	if err != nil {
		return "", err
	}
	return b.Name(), nil
}

// A ModuleLister loads shared libraries of other vendors.
type ModuleLister interface {
	Backend
	// Modules returns the modules that opening ref loads. It loads none of
	// them.
	Modules(ref Ref) ([]Module, error)
}

// An Isolator can run the modules of other vendors in another process.
type Isolator interface {
	ModuleLister
	// Isolation returns where the modules run that opening ref loads. It starts no
	// process. The error is that of opening ref in a place that does not exist.
	Isolation(ref Ref, call Call) (Isolation, error)
	// EndedHelpers returns how many of the processes in which modules ran have crashed,
	// or were ended because the module hung, since this process started.
	EndedHelpers() int64
}

// An Isolation says in which process modules run.
type Isolation struct {
	Program string // of that process, started by this one; "": in this process
	Refused error  // why a Program that was found is not used; nil: none was found, or it is used
	Value   string // that decided, of the attribute isolation or its default; "": none
	Reason  string // a clause that says how the process follows from Value; "": Value names it
}

// Isolation returns in which process the modules of ref run; see [Isolator]. Those of a
// backend that is none run in this process. An error is a [*RefError] or a
// [*signer.Error].
func (s *Store) Isolation(ref Ref, opts Options) (Isolation, error) {
	b, ok := s.find(ref.Scheme).(Isolator)
	if !ok {
		return Isolation{}, nil
	}
	call := s.begin(opts)
	defer call.end()
	isolation, err := b.Isolation(ref, call)
	return isolation, wrap(b, "find the process for the modules of", ref, err)
}

// EndedHelpers returns the sum of those of all backends; see [Isolator].
func (s *Store) EndedHelpers() (n int64) {
	for _, b := range s.backends {
		if i, ok := b.(Isolator); ok {
			n += i.EndedHelpers()
		}
	}
	return n
}

// A Module is a shared library of another vendor, which can crash or hang the
// program that loads it.
type Module struct {
	Path string
	From string // the file that configures it; "": the reference does
	Ref  Ref    // loads only this module
}

// Modules returns the modules that opening ref loads; see [ModuleLister]. A
// reference of another kind loads none. An error is a [*RefError] or a
// [*signer.Error].
func (s *Store) Modules(ref Ref) ([]Module, error) {
	b, ok := s.find(ref.Scheme).(ModuleLister)
	if !ok {
		return nil, nil
	}
	modules, err := b.Modules(ref)
	return modules, wrap(b, "find the modules of", ref, err)
}
