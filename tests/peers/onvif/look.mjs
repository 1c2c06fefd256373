// The npm package `onvif` looks at a device: everything that it learns, as one JSON object on standard output.
// usage: node look.mjs HOST PORT USER < password

import { readFileSync } from 'node:fs';
import onvif from 'onvif';

const [host, port, user] = process.argv.slice(2);
const password = readFileSync(0, 'utf8').trim();
const seen = { warnings: [], topics: {} };

const cam = new onvif.Cam({ hostname: host, port: Number(port), username: user, password, timeout: 5000, autoconnect: false });
cam.on('warning', (warning) => seen.warnings.push(String(warning)));
cam.on('eventsError', (error) => seen.warnings.push(String(error)));

const ask = (name, ...given) =>
  new Promise((resolve, reject) => {
    cam[name](...given, (error, answer) => (error ? reject(new Error(`${name}: ${error}`)) : resolve(answer)));
  });

// Gather events until every topic in `wanted` has been seen with its value.
const events = (wanted) =>
  new Promise((resolve) => {
    cam.on('event', (event) => {
      const topic = event.topic._.split('/').pop();
      const { simpleItem } = event.message.message.data;
      seen.topics[topic] = (Array.isArray(simpleItem) ? simpleItem[0] : simpleItem).$.Value;
      if (Object.entries(wanted).every(([one, value]) => String(seen.topics[one]) === value)) resolve();
    });
  });

await ask('connect');
seen.profiles = cam.profiles.map((profile) => profile.$.token);
seen.media2 = Boolean(cam.media2Support);
seen.information = await ask('getDeviceInformation');
seen.stream = (await ask('getStreamUri', { protocol: 'RTSP' })).uri;
seen.snapshot = (await ask('getSnapshotUri', {})).uri;
seen.presets = Object.values(await ask('getPresets', {})).map((preset) => preset.$.token);
await ask('gotoPreset', { preset: 'gate' });
seen.position = (await ask('getStatus', {})).position;
seen.scopes = (await ask('getScopes')).length;
seen.hostname = (await ask('getHostname')).name;
await events({ DoorMode: 'Locked', DoorAlarm: 'DoorForcedOpen', MotionAlarm: 'true' });
process.stdout.write(JSON.stringify(seen), () => process.exit(0));
