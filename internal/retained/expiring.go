package retained

// expiring is a heap: the message that expires first is at its root.
type expiring []*entry

func (e expiring) Len() int           { return len(e) }
func (e expiring) Less(i, j int) bool { return e[i].Expires < e[j].Expires }

func (e expiring) Swap(i, j int) {
	e[i], e[j] = e[j], e[i]
	e[i].place, e[j].place = int32(i+1), int32(j+1)
}

// Push implements heap.Interface.
func (e *expiring) Push(x any) {
	k := x.(*entry)
	*e = append(*e, k)
	k.place = int32(len(*e))
}

// Pop implements heap.Interface.
func (e *expiring) Pop() any {
	last := len(*e) - 1
	k := (*e)[last]
	(*e)[last] = nil
	if *e = (*e)[:last]; last == 0 {
		*e = nil // give back the memory
	}
	k.place = 0
	return k
}
