package emulator

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
)

// The format of the file, version 2. bbolt trusts the pages of its file: a damaged one
// makes it panic, read outside its memory, or never return. So all pages in use are
// checked before bbolt reads them.
//
// Source: go.etcd.io/bbolt, internal/common.
const (
	pageHeader    = 16
	elementHeader = 16
	metaSize      = 64
	metaMagic     = 0xED0CDAED
	metaVersion   = 2
	maxStatePages = 1 << 20
	maxTreeDepth  = 64 // more than 64 levels of two keys each need more pages
	noFreelist    = ^uint64(0)

	flagBranch, flagLeaf, flagFreelist = 1, 2, 16
	flagBucket                         = 1 // of an element of a leaf
)

// A stateCheck checks the pages of one file.
type stateCheck struct {
	file     io.ReaderAt
	pageSize uint64
	pages    uint64          // number of pages
	used     map[uint64]bool // pages seen
	depth    int
}

// checkStateFile returns an error if bbolt cannot safely read the file.
func checkStateFile(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	c := &stateCheck{file: f, pageSize: uint64(os.Getpagesize()), used: make(map[uint64]bool)}
	first, firstErr := c.meta(0)
	if firstErr == nil {
		c.pageSize = uint64(first.PageSize)
	}
	meta, err := c.meta(c.pageSize)
	if err != nil || firstErr == nil && first.Txid > meta.Txid {
		meta, err = first, firstErr
	}
	if err != nil {
		return err
	}
	c.pages = meta.Pages
	if size := uint64(info.Size()); uint64(meta.PageSize) != c.pageSize || c.pages > maxStatePages || c.pages*c.pageSize > size {
		return fmt.Errorf("%d bytes are less than its %d pages", size, c.pages)
	}
	c.used[0], c.used[1] = true, true
	if err := c.tree(meta.Root, nil); err != nil {
		return err
	}
	if meta.Freelist == noFreelist {
		return nil
	}
	return c.freelist(meta.Freelist)
}

type stateMeta struct {
	Magic, Version, PageSize, Flags            uint32
	Root, Sequence, Freelist, Pages, Txid, Sum uint64
}

func (c *stateCheck) meta(offset uint64) (m stateMeta, err error) {
	b := make([]byte, metaSize)
	if _, err := c.file.ReadAt(b, int64(offset+pageHeader)); err != nil {
		return m, err
	}
	if err := binary.Read(bytes.NewReader(b), binary.NativeEndian, &m); err != nil {
		return m, err
	}
	sum := fnv.New64a()
	sum.Write(b[:metaSize-8]) // never fails
	if m.Magic != metaMagic || m.Version != metaVersion || m.Sum != sum.Sum64() || m.PageSize < 1<<10 || m.PageSize > 1<<20 {
		return m, errors.New("not a state of the emulator")
	}
	return m, nil
}

// A statePage is a page with its overflow.
type statePage struct {
	flags, count uint16
	b            []byte
}

// page reads a page that was not seen before.
func (c *stateCheck) page(id uint64) (p statePage, err error) {
	header := make([]byte, pageHeader)
	if id >= c.pages {
		return p, fmt.Errorf("page %d does not exist", id)
	}
	if _, err := c.file.ReadAt(header, int64(id*c.pageSize)); err != nil {
		return p, err
	}
	n := 1 + uint64(binary.NativeEndian.Uint32(header[12:]))
	if got := binary.NativeEndian.Uint64(header); got != id || n > c.pages-id {
		return p, fmt.Errorf("page %d is damaged", id)
	}
	for i := id; i < id+n; i++ {
		if c.used[i] {
			return p, fmt.Errorf("page %d is used twice", i)
		}
		c.used[i] = true
	}
	p.flags, p.count = binary.NativeEndian.Uint16(header[8:]), binary.NativeEndian.Uint16(header[10:])
	p.b = make([]byte, n*c.pageSize)
	_, err = c.file.ReadAt(p.b, int64(id*c.pageSize))
	return p, err
}

// tree checks a page of a tree and those below it. No key is less than from.
func (c *stateCheck) tree(id uint64, from []byte) error {
	p, err := c.page(id)
	if err != nil {
		return err
	}
	if err := c.elements(p, from); err != nil {
		return fmt.Errorf("page %d: %w", id, err)
	}
	return nil
}

func (c *stateCheck) elements(p statePage, from []byte) error {
	c.depth++
	defer func() { c.depth-- }()
	if c.depth > maxTreeDepth {
		return errors.New("the tree is too deep")
	}
	if p.flags != flagBranch && p.flags != flagLeaf || p.flags == flagBranch && p.count == 0 {
		return errors.New("it belongs to no tree")
	}
	var last []byte
	for i := range int(p.count) {
		start := pageHeader + i*elementHeader
		if start+elementHeader > len(p.b) {
			return errors.New("it has too many elements")
		}
		e := p.b[start:]
		field := func(n int) uint64 { return uint64(binary.NativeEndian.Uint32(e[n:])) }
		position, keySize, valueSize := field(0), field(4), uint64(0)
		if p.flags == flagLeaf {
			position, keySize, valueSize = field(4), field(8), field(12)
		}
		if position+keySize+valueSize > uint64(len(e)) || position < uint64(pageHeader+int(p.count)*elementHeader-start) {
			return errors.New("an element is outside")
		}
		key, value := e[position:position+keySize], e[position+keySize:position+keySize+valueSize]
		if i > 0 && bytes.Compare(last, key) >= 0 || bytes.Compare(key, from) < 0 {
			return errors.New("its keys are not in order")
		}
		last = key
		var err error
		switch {
		case p.flags == flagBranch:
			err = c.tree(binary.NativeEndian.Uint64(e[8:]), key)
		case field(0) == flagBucket:
			err = c.bucket(value)
		case field(0) != 0:
			err = errors.New("an element is of an unknown kind")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// bucket checks the bucket that a leaf contains, which has a page of its own or follows
// its header.
func (c *stateCheck) bucket(b []byte) error {
	if len(b) < pageHeader {
		return errors.New("a bucket is too short")
	}
	if root := binary.NativeEndian.Uint64(b); root != 0 {
		return c.tree(root, nil)
	}
	if b = b[pageHeader:]; len(b) < pageHeader {
		return errors.New("a bucket is too short")
	}
	return c.elements(statePage{binary.NativeEndian.Uint16(b[8:]), binary.NativeEndian.Uint16(b[10:]), b}, nil)
}

// freelist checks that the free pages exist, once each, and are not in use.
func (c *stateCheck) freelist(id uint64) error {
	p, err := c.page(id)
	if err != nil {
		return err
	}
	ids, count := p.b[pageHeader:], uint64(p.count)
	if count == 0xFFFF { // the number is the first element
		count, ids = binary.NativeEndian.Uint64(ids), ids[8:]
	}
	if p.flags != flagFreelist || count > uint64(len(ids)/8) {
		return errors.New("the list of free pages is damaged")
	}
	for i := range count {
		free := binary.NativeEndian.Uint64(ids[i*8:])
		if free >= c.pages || c.used[free] {
			return fmt.Errorf("page %d is free and in use", free)
		}
		c.used[free] = true
	}
	return nil
}
