"""A client of the interop tests, over Debian's python3-paho-mqtt.

It speaks the protocol of mqttjs.mjs: the one argument is the JSON of what to
connect with, commands come as lines of JSON, answers and messages go out.
"""

import json
import sys
import threading

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

PATIENCE = 10  # seconds
o = json.loads(sys.argv[1])
lock = threading.Lock()
acknowledged = {}  # packet identifier of a SUBSCRIBE -> event


def say(**what):
    with lock:
        print(json.dumps(what), flush=True)


def event(mid):
    with lock:
        return acknowledged.setdefault(mid, threading.Event())


def on_connect(client, userdata, flags, rc, properties=None):
    if rc != 0:
        say(error="CONNACK %s" % rc)
    else:
        say(connected=True, present=bool(flags["session present"]))


def on_message(client, userdata, m):
    say(message={"topic": m.topic, "payload": m.payload.decode(), "qos": m.qos, "retain": bool(m.retain)})


def subscribe(c):
    result, mid = client.subscribe(c["filter"], c["qos"])
    if result != mqtt.MQTT_ERR_SUCCESS or not event(mid).wait(PATIENCE):
        raise RuntimeError("SUBSCRIBE: result %s, or no SUBACK" % result)


def publish(c):
    m = c["message"]
    info = client.publish(m["topic"], m["payload"], m["qos"], m["retain"])
    info.wait_for_publish(PATIENCE)
    if not info.is_published():
        raise RuntimeError("PUBLISH: not acknowledged")


def close(c):
    client.disconnect()
    client.loop_stop()


options = {} if o["version"] == 5 else {"clean_session": o["clean"]}
if o["scheme"] in ("ws", "wss"):
    options["transport"] = "websockets"
client = mqtt.Client(client_id=o["id"], protocol=o["version"], **options)
if o["scheme"] in ("tls", "wss"):
    client.tls_set(o["ca"])
client.on_connect, client.on_message = on_connect, on_message
client.on_subscribe = lambda client, userdata, mid, *rest: event(mid).set()
if o.get("will"):
    w = o["will"]
    client.will_set(w["topic"], w["payload"], w["qos"], w["retain"])
host, port = o["addr"].rsplit(":", 1)
if o["version"] == 5:
    properties = Properties(PacketTypes.CONNECT)
    if not o["clean"]:
        properties.SessionExpiryInterval = 600
    client.connect(host, int(port), clean_start=o["clean"], properties=properties)
else:
    client.connect(host, int(port))
client.loop_start()

for line in sys.stdin:
    command = json.loads(line)
    try:
        {"subscribe": subscribe, "publish": publish, "close": close}[command["op"]](command)
    except Exception as err:  # whatever it is belongs into the test's report
        say(error=str(err))
        sys.exit(1)
    say(done=True)
    if command["op"] == "close":
        break
