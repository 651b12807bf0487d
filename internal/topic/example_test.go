package topic_test

import (
	"fmt"

	"midge/internal/topic"
)

func ExampleMatch() {
	fmt.Println(topic.Match("home/+/temperature", "home/kitchen/temperature"))
	fmt.Println(topic.Match("home/#", "home"))
	fmt.Println(topic.Match("#", "$SYS/broker/uptime")) // MQTT-4.7.2-1
	// Output:
	// true
	// true
	// false
}

// A Tree finds what was put in under the filters that match a name.
func ExampleTree() {
	var subscribers topic.Tree[string]
	subscribers.Add("home/kitchen/+", "display")
	all := subscribers.Add("home/#", "recorder")
	subscribers.Add("garden/#", "pump")
	subscribers.Match([]byte("home/kitchen/light"), func(who string) { fmt.Println(who) })

	subscribers.Remove(all)
	subscribers.Match([]byte("home/bath/light"), func(who string) { fmt.Println(who) })
	// Unordered output:
	// display
	// recorder
}

func ExampleParseShared() {
	group, filter, shared, err := topic.ParseShared("$share/workers/jobs/#")
	fmt.Println(group, filter, shared, err)
	// Output: workers jobs/# true <nil>
}
