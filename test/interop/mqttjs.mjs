// A client of the interop tests, over MQTT.js. The one argument is the JSON of
// what to connect with; commands come as lines of JSON, answers and messages go
// out as such. The end of the process without "close" is an abnormal end.
import { createInterface } from 'node:readline'
import { readFileSync } from 'node:fs'
import mqtt from 'mqtt'

const o = JSON.parse(process.argv[2])
const say = (what) => process.stdout.write(JSON.stringify(what) + '\n')
const fail = (err) => { say({ error: String(err) }); process.exit(1) }

const options = {
  clientId: o.id,
  clean: o.clean,
  protocolId: o.version === 3 ? 'MQIsdp' : 'MQTT',
  protocolVersion: o.version,
  reconnectPeriod: 0,
  connectTimeout: 10000,
}
if (o.version === 5 && !o.clean) options.properties = { sessionExpiryInterval: 600 }
if (o.will) options.will = { ...o.will, payload: Buffer.from(o.will.payload) }

if (o.scheme === 'tls' || o.scheme === 'wss') options.ca = readFileSync(o.ca)
const url = { tcp: 'mqtt://', tls: 'mqtts://', ws: 'ws://', wss: 'wss://' }[o.scheme] + o.addr
const client = mqtt.connect(o.scheme.startsWith('ws') ? url + '/mqtt' : url, options)
client.on('error', fail)
client.on('connect', (connack) => say({ connected: true, present: connack.sessionPresent }))
client.on('message', (topic, payload, p) =>
  say({ message: { topic, payload: payload.toString(), qos: p.qos, retain: p.retain } }))

const operations = {
  subscribe: (c) => client.subscribeAsync(c.filter, { qos: c.qos }),
  publish: (c) => client.publishAsync(c.message.topic, c.message.payload, { qos: c.message.qos, retain: c.message.retain }),
  close: () => client.endAsync(),
}
createInterface({ input: process.stdin }).on('line', async (line) => {
  const command = JSON.parse(line)
  try {
    await operations[command.op](command)
    say({ done: true })
    if (command.op === 'close') process.exit(0)
  } catch (err) { fail(err) }
})
