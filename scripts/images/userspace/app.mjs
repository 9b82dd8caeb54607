/**
 * The demo product's own program, as it lies in the image: it answers, on a local socket, which version it is and
 * whether its sensor works. The image build sets the two constants.
 */
import { rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { chdir } from 'node:process';

const VERSION = '0.0.0';
const SENSOR_WORKS = true;

// Relative names: a socket's path may have 107 bytes at most, and a device's folder can lie deep.
chdir(`${process.env.HOLDFAST_DEVICE}/run`);
rmSync('app.sock', { force: true });
createServer((connection) => {
  connection.on('error', () => connection.destroy());
  connection.end(`${JSON.stringify({ version: VERSION, sensorWorks: SENSOR_WORKS })}\n`);
}).listen('app.sock', () => console.log(`acme app ${VERSION} is up`));
