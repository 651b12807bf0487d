package packet

import (
	"bytes"
	"errors"
	"reflect"
	"testing"
)

// TestPropertyTable compares the table of properties with the fields of
// Properties: each field has one row, and the type that its kind says.
func TestPropertyTable(t *testing.T) {
	fields := map[uintptr]reflect.StructField{}
	for f := range reflect.TypeFor[Properties]().Fields() {
		if f.Name != "present" {
			fields[f.Offset] = f
		}
	}
	kinds := map[kind][]reflect.Type{
		kindFlag:   {reflect.TypeFor[bool](), reflect.TypeFor[byte](), reflect.TypeFor[QoS]()},
		kindUint16: {reflect.TypeFor[uint16]()},
		kindUint32: {reflect.TypeFor[uint32]()},
		kindVarint: {reflect.TypeFor[[]uint32]()},
		kindString: {reflect.TypeFor[[]byte]()},
		kindBinary: {reflect.TypeFor[[]byte]()},
		kindPair:   {reflect.TypeFor[[]UserProperty]()},
	}
	names := map[string]bool{}
	for n := range properties {
		id, row := PropertyID(n), &properties[n]
		if row.kind == kindNone {
			if *row != (property{}) {
				t.Errorf("0x%02x is no property and has a row", n)
			}
			continue
		}
		f, ok := fields[row.field]
		if !ok {
			t.Errorf("%v: no field is at %d, or it has two properties", id, row.field)
			continue
		}
		delete(fields, row.field)
		fits := false
		for _, typ := range kinds[row.kind] {
			fits = fits || f.Type == typ
		}
		if !fits {
			t.Errorf("%v: field %s is a %v", id, f.Name, f.Type)
		}
		if row.name == "" || names[row.name] {
			t.Errorf("%v: name %q", id, row.name)
		}
		names[row.name] = true
		if row.in == 0 || row.repeated&^row.in != 0 || (row.utf8 != "") && row.kind != kindString {
			t.Errorf("%v: %+v", id, *row)
		}
	}
	for _, f := range fields {
		t.Errorf("field %s has no property", f.Name)
	}
}

// TestEachProperty writes each property alone and twice, and reads it in each
// packet: it comes back, or is refused as the table says.
func TestEachProperty(t *testing.T) {
	for n := range properties {
		id, row := PropertyID(n), &properties[n]
		if row.kind == kindNone {
			continue
		}
		var p Properties
		v := reflect.ValueOf(&p).Elem()
		for i := range v.NumField() {
			f := v.Field(i)
			if v.Type().Field(i).Offset != row.field {
				continue
			}
			switch f.Interface().(type) {
			case bool:
				f.SetBool(true)
			case []byte:
				f.SetBytes([]byte("text"))
			case []uint32:
				f.Set(reflect.ValueOf([]uint32{300}))
			case []UserProperty:
				f.Set(reflect.ValueOf(user("name", "value")))
			default:
				f.SetUint(1)
			}
		}
		if p.Set(id); !p.Has(id) {
			t.Errorf("%v: not there after Set", id)
		}
		wire := p.AppendWire(nil)
		if id == PropAuthData { // never without the method
			wire = append([]byte{byte(PropAuthMethod), 0, 1, 'm'}, wire...)
			p.AuthMethod = []byte("m")
			p.Set(PropAuthMethod)
		}
		for typ := CONNECT; typ <= AUTH; typ++ {
			var got Properties
			err := got.Parse(typ, wire)
			if allowed := row.in.has(typ); (err == nil) != allowed {
				t.Errorf("%v in %v: %v", id, typ, err)
				continue
			} else if !allowed {
				if fault, ok := errors.AsType[*Fault](err); !ok || fault.Code != MalformedPacket {
					t.Errorf("%v in %v: %v", id, typ, err)
				}
				continue
			}
			if again := got.AppendWire(nil); !got.Has(id) || !bytes.Equal(again, p.AppendWire(nil)) {
				t.Errorf("%v in %v: % x read as % x", id, typ, wire, again)
			}
			err = got.Parse(typ, append(bytes.Clone(wire), wire[len(wire)-len(alone(&p, id)):]...))
			if repeated := row.repeated.has(typ); (err == nil) != repeated {
				t.Errorf("%v twice in %v: %v", id, typ, err)
			}
		}
		if p.Unset(id); p.Has(id) {
			t.Errorf("%v: there after Unset", id)
		}
	}
}

// alone is the wire form of one of the properties.
func alone(p *Properties, id PropertyID) []byte {
	one := *p
	one.present = 0
	one.Set(id)
	return one.AppendWire(nil)
}
