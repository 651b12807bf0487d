package tlsrecord

import (
	"crypto/cipher"
	"encoding/binary"
)

// protection is the record protection of one direction (RFC 8446 section 5.2).
type protection struct {
	suite     *suite
	aead      cipher.AEAD // nil: it is made when it is needed
	sequence  uint64
	protected uint64 // bytes with this key; see suite.limit
	iv        [ivBytes]byte
	key       [maxKey]byte
	secret    [maxSecret]byte
}

// begin sets the traffic secret, and what follows from it (section 7.3).
func (p *protection) begin(secret []byte) {
	copy(p.secret[:], secret)
	p.suite.expandLabel(p.key[:p.suite.keyBytes], secret, "key")
	p.suite.expandLabel(p.iv[:], secret, "iv")
	p.sequence, p.protected, p.aead = 0, 0, nil
}

// update goes on to the next traffic secret (section 7.2).
func (p *protection) update() {
	var next [maxSecret]byte
	n := p.suite.secretBytes
	p.suite.expandLabel(next[:n], p.secret[:n], "traffic upd")
	p.begin(next[:n])
}

func (p *protection) cipher() cipher.AEAD {
	if p.aead == nil {
		aead, err := p.suite.aead(p.key[:p.suite.keyBytes])
		if err != nil {
			panic("tlsrecord: " + err.Error()) // New has tried it
		}
		p.aead = aead
	}
	return p.aead
}

// mask makes the nonce of the sequence number from the IV, in its place, and the IV
// from that: a nonce elsewhere would be an allocation a record (section 5.3).
func (p *protection) mask() {
	last := p.iv[ivBytes-8:]
	binary.BigEndian.PutUint64(last, binary.BigEndian.Uint64(last)^p.sequence)
}

// seal appends the record that protects content to dst.
func (p *protection) seal(dst []byte, typ contentType, content []byte) []byte {
	start, n := len(dst), len(content)+1+tagBytes
	dst = append(dst, byte(applicationData), 3, 3, byte(n>>8), byte(n))
	dst = append(append(dst, content...), byte(typ))
	header, inner := dst[start:start+headerBytes], dst[start+headerBytes:]
	p.mask()
	dst = p.cipher().Seal(dst[:start+headerBytes], p.iv[:], inner, header)
	p.mask()
	p.sequence++
	// A header, a length and the next counter are blocks of the cipher, too.
	p.protected += uint64(n) + 4*16
	return dst
}

// open decrypts a record to dst, which has room for it, and takes type and padding off.
func (p *protection) open(dst, record []byte) (typ contentType, content []byte, err error) {
	header, body := record[:headerBytes], record[headerBytes:]
	switch {
	case len(body) > maxCiphertext || length(header) > maxCiphertext:
		return 0, nil, violation(RecordOverflow, "a record names a length of %d", length(header))
	case header[1] != 3 || header[2] != 3:
		return 0, nil, violation(ProtocolVersion, "a record is of version %x", header[1:3])
	case contentType(header[0]) != applicationData:
		return 0, nil, violation(UnexpectedMessage, "a record of type %d is not encrypted", header[0])
	}
	p.mask()
	inner, err := p.cipher().Open(dst[:0], p.iv[:], body, header)
	p.mask()
	if err != nil {
		return 0, nil, violation(BadRecordMAC, "a record is not what the peer has encrypted")
	}
	p.sequence++
	if len(inner) > maxPlaintext+1 {
		return 0, nil, violation(RecordOverflow, "a record has %d bytes", len(inner))
	}
	end := len(inner) - 1
	for end >= 0 && inner[end] == 0 { // padding (section 5.4)
		end--
	}
	if end < 0 {
		return 0, nil, violation(UnexpectedMessage, "a record has no content type")
	}
	return contentType(inner[end]), inner[:end], nil
}

// opens reports whether the record is the next one that p protects. It goes on to the one
// after it then.
func (p *protection) opens(record []byte) bool {
	_, _, err := p.open(nil, record)
	return err == nil
}
