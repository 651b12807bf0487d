package passwordfile

import (
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"

	"midge/internal/scram"
)

// hash is a password as a file has it. A check never ends by itself, so that parse
// refuses what would take too long or too much memory.
type hash interface {
	// matches reports whether it is the hash of a password.
	matches(password []byte) bool

	// memory is how many bytes matches needs.
	memory() int64
}

// What a check may take at most: about a second of processor time each, and the
// memory of argon2. Guess: ten times what people set.
const (
	maxArgonMemory = 1 << 20 // KiB
	maxArgonWork   = 8 << 20 // KiB times passes
	maxCost        = 15      // of bcrypt
	maxIterations  = 1_000_000
	maxHashBytes   = 1024 // of a salt, and of the hash itself
)

// parseHash reads a hash. Its prefix tells the kind.
func parseHash(text string) (hash, error) {
	kind, rest, ok := strings.Cut(strings.TrimPrefix(text, "$"), "$")
	if !ok || text[0] != '$' {
		return nil, errors.New("the password is not hashed; set it with 'midge passwd'")
	}
	switch kind {
	case "argon2id", "argon2i":
		return parseArgon(kind, rest)
	case "2a", "2b", "2y":
		return parseBcrypt(text)
	case "7":
		return parsePBKDF2(rest)
	case "6":
		return parseSHA512(rest)
	case "scram-sha-256":
		return parseSCRAM(rest)
	}
	return nil, fmt.Errorf("hashes that begin with $%s$ are not known; those of argon2, bcrypt ($2b$), SCRAM and mosquitto_passwd ($6$, $7$) are", shorten(kind))
}

// shorten keeps an error readable, whatever is in the file.
func shorten(s string) string {
	if len(s) > 20 {
		s = s[:20] + "..."
	}
	return strings.Trim(strconv.Quote(s), `"`)
}

// argon is a hash of argon2 (RFC 9106).
type argon struct {
	id         bool // argon2id, else argon2i
	m, t       uint32
	p          uint8
	salt, hash []byte
}

func (a *argon) matches(password []byte) bool {
	derive := argon2.Key
	if a.id {
		derive = argon2.IDKey
	}
	return subtle.ConstantTimeCompare(derive(password, a.salt, a.t, a.m, a.p, uint32(len(a.hash))), a.hash) == 1
}

func (a *argon) memory() int64 { return int64(a.m) << 10 }

// parseArgon reads v=19$m=47104,t=1,p=1$salt$hash.
func parseArgon(kind, text string) (hash, error) {
	parts := strings.Split(text, "$")
	if len(parts) != 4 {
		return nil, fmt.Errorf("a hash of %s has the form $%s$v=19$m=19456,t=2,p=1$SALT$HASH", kind, kind)
	}
	if parts[0] != fmt.Sprintf("v=%d", argon2.Version) {
		return nil, fmt.Errorf("%s: version %s, this is for v=%d", kind, shorten(parts[0]), argon2.Version)
	}
	a := &argon{id: kind == "argon2id"}
	var n [3]uint64
	settings := strings.Split(parts[1], ",")
	for i, name := range []string{"m=", "t=", "p="} {
		if i >= len(settings) || len(settings) != 3 {
			return nil, fmt.Errorf("%s: %q is not of the form m=19456,t=2,p=1", kind, shorten(parts[1]))
		}
		digits, ok := strings.CutPrefix(settings[i], name)
		v, err := strconv.ParseUint(digits, 10, 32)
		if !ok || err != nil || v == 0 {
			return nil, fmt.Errorf("%s: %q is not of the form m=19456,t=2,p=1", kind, shorten(parts[1]))
		}
		n[i] = v
	}
	if n[2] > math.MaxUint8 || n[0] > maxArgonMemory || n[0]*n[1] > maxArgonWork || n[0] < 8*n[2] {
		return nil, fmt.Errorf("%s: m=%d,t=%d,p=%d is outside what is checked: m up to %d, m times t up to %d, p up to 255 and an eighth of m", kind, n[0], n[1], n[2], maxArgonMemory, maxArgonWork)
	}
	a.m, a.t, a.p = uint32(n[0]), uint32(n[1]), uint8(n[2])
	var err error
	if a.salt, a.hash, err = saltAndHash(kind, base64.RawStdEncoding, parts[2], parts[3]); err != nil {
		return nil, err
	}
	return a, nil
}

// saltAndHash decodes what a hash ends with.
func saltAndHash(kind string, enc *base64.Encoding, salt, hash string) (s, h []byte, err error) {
	s, err = enc.Strict().DecodeString(salt)
	if err == nil {
		h, err = enc.Strict().DecodeString(hash)
	}
	switch {
	case err != nil:
		return nil, nil, fmt.Errorf("%s: salt or hash is not base64", kind)
	case len(h) < 16 || len(s) == 0 || len(s) > maxHashBytes || len(h) > maxHashBytes:
		return nil, nil, fmt.Errorf("%s: a salt of %d bytes and a hash of %d; a salt has 1 to %d, and a hash 16 to as many", kind, len(s), len(h), maxHashBytes)
	}
	return s, h, nil
}

// crypted is a hash of bcrypt.
type crypted []byte

func (c crypted) matches(password []byte) bool {
	return bcrypt.CompareHashAndPassword(c, password) == nil
}

func (c crypted) memory() int64 { return 8 << 10 }

func parseBcrypt(text string) (hash, error) {
	cost, err := bcrypt.Cost([]byte(text))
	switch {
	case err != nil || len(text) != 60 || text[6] != '$':
		return nil, errors.New("a hash of bcrypt has the form $2b$10$ and 53 characters")
	case cost > maxCost:
		return nil, fmt.Errorf("bcrypt: cost %d takes too long to check; the most is %d", cost, maxCost)
	}
	return crypted(text), nil
}

// stretched is $7$ of mosquitto_passwd: PBKDF2 with SHA-512.
type stretched struct {
	iterations int
	salt, hash []byte
}

func (s *stretched) matches(password []byte) bool {
	key, err := pbkdf2.Key(sha512.New, string(password), s.salt, s.iterations, len(s.hash))
	return err == nil && subtle.ConstantTimeCompare(key, s.hash) == 1
}

func (s *stretched) memory() int64 { return 0 }

// parsePBKDF2 reads iterations$salt$hash.
func parsePBKDF2(text string) (hash, error) {
	const kind = "$7$ of mosquitto_passwd"
	parts := strings.Split(text, "$")
	if len(parts) != 3 {
		return nil, errors.New(kind + " has the form $7$ITERATIONS$SALT$HASH")
	}
	n, err := strconv.Atoi(parts[0])
	if err != nil || n < 1 || n > maxIterations {
		return nil, fmt.Errorf("%s: %s iterations are outside 1 to %d", kind, shorten(parts[0]), maxIterations)
	}
	s := &stretched{iterations: n}
	if s.salt, s.hash, err = saltAndHash(kind, base64.StdEncoding, parts[1], parts[2]); err != nil {
		return nil, err
	}
	return s, nil
}

// salted is $6$ of mosquitto_passwd: SHA-512 of password and salt, once.
type salted struct{ salt, hash []byte }

func (s *salted) matches(password []byte) bool {
	h := sha512.New()
	h.Write(password)
	h.Write(s.salt)
	return subtle.ConstantTimeCompare(h.Sum(nil), s.hash) == 1
}

func (s *salted) memory() int64 { return 0 }

// parseSHA512 reads salt$hash.
func parseSHA512(text string) (hash, error) {
	const kind = "$6$ of mosquitto_passwd"
	parts := strings.Split(text, "$")
	if len(parts) != 2 {
		return nil, errors.New(kind + " has the form $6$SALT$HASH")
	}
	s := &salted{}
	var err error
	if s.salt, s.hash, err = saltAndHash(kind, base64.StdEncoding, parts[0], parts[1]); err != nil {
		return nil, err
	}
	if len(s.hash) != sha512.Size {
		return nil, fmt.Errorf("%s: the hash has %d bytes and not %d", kind, len(s.hash), sha512.Size)
	}
	return s, nil
}

// salty are credentials for SCRAM-SHA-256. They check a password that was sent, too.
type salty struct{ scram.Credentials }

func (s *salty) matches(password []byte) bool { return s.Matches(password) }

func (s *salty) memory() int64 { return 0 }

// scramPrefix begins the text of such credentials.
const scramPrefix = "$" + string(SCRAM) + "$"

// parseSCRAM reads iterations$salt$StoredKey$ServerKey.
func parseSCRAM(text string) (hash, error) {
	parts := strings.Split(text, "$")
	if len(parts) != 4 {
		return nil, errors.New("SCRAM: credentials have the form " + scramPrefix + "ITERATIONS$SALT$STOREDKEY$SERVERKEY")
	}
	n, err := strconv.Atoi(parts[0])
	if err != nil || n < scram.MinIterations || n > maxIterations {
		return nil, fmt.Errorf("SCRAM: %s iterations are outside %d to %d", shorten(parts[0]), scram.MinIterations, maxIterations)
	}
	s := &salty{scram.Credentials{Iterations: n}}
	if s.Salt, s.StoredKey, err = saltAndHash("SCRAM", base64.StdEncoding, parts[1], parts[2]); err != nil {
		return nil, err
	}
	if _, s.ServerKey, err = saltAndHash("SCRAM", base64.StdEncoding, parts[1], parts[3]); err != nil {
		return nil, err
	}
	if len(s.StoredKey) != sha256.Size || len(s.ServerKey) != sha256.Size {
		return nil, fmt.Errorf("SCRAM: keys of %d and %d bytes; both have %d", len(s.StoredKey), len(s.ServerKey), sha256.Size)
	}
	return s, nil
}

// Kind is a way to hash a password.
type Kind string

const (
	Argon2id Kind = "argon2id"
	Bcrypt   Kind = "bcrypt"
	PBKDF2   Kind = "sha512-pbkdf2" // as mosquitto_passwd calls it
	SCRAM    Kind = "scram-sha-256" // with which clients need not send the password
)

// Kinds are all of them; the first is the best one.
var Kinds = []Kind{Argon2id, Bcrypt, PBKDF2, SCRAM}

// Hash hashes a password with a new salt.
func (k Kind) Hash(password []byte) (string, error) {
	salt := make([]byte, 16)
	rand.Read(salt)
	switch k {
	case Argon2id:
		// The second of OWASP's five equal choices, of December 2023: as hard to guess
		// as with 47 MiB and one pass, and less memory for each check.
		const m, t, p = 19_456, 2, 1
		b64 := base64.RawStdEncoding.EncodeToString
		return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, m, t, p, b64(salt), b64(argon2.IDKey(password, salt, t, m, p, 32))), nil
	case Bcrypt:
		if len(password) > 72 {
			return "", errors.New("bcrypt takes passwords of 72 bytes at most; choose argon2id")
		}
		h, err := bcrypt.GenerateFromPassword(password, bcrypt.DefaultCost)
		return string(h), err
	case PBKDF2:
		// Twenty times what mosquitto_passwd takes, and a tenth of what OWASP asks for: a
		// check of so many takes half a second. It is for files that Mosquitto reads, too.
		const iterations = 20_000
		key, err := pbkdf2.Key(sha512.New, string(password), salt, iterations, sha512.Size)
		b64 := base64.StdEncoding.EncodeToString
		return fmt.Sprintf("$7$%d$%s$%s", iterations, b64(salt), b64(key)), err
	case SCRAM:
		c, err := scram.New(password)
		b64 := base64.StdEncoding.EncodeToString
		return fmt.Sprintf("%s%d$%s$%s$%s", scramPrefix, c.Iterations, b64(c.Salt), b64(c.StoredKey), b64(c.ServerKey)), err
	}
	return "", fmt.Errorf("%q is no way to hash a password", string(k))
}
