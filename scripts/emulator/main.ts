/**
 * Powers emulated devices: node scripts/emulator/main.ts DEVICE_DIR [DEVICE_DIR ...]
 *
 * Each device's agent and app are processes of their own, out of the booted slot's image. SIGTERM or SIGINT is power
 * off. Killed with SIGKILL, the next start finds and ends what was left running.
 */
import { readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { EmulatedDevice } from '../../emulator/boot-loop.ts';
import { reportFailure } from '../../platform/command-line.ts';
import { EXIT, Fault } from '../../platform/fault.ts';
import { demoUserspace } from './mount-slot.ts';

async function openDevice(directory: string): Promise<EmulatedDevice> {
  try {
    await readFile(join(directory, 'factory/agent.json'));
  } catch (cause) {
    throw new Fault({
      code: 'not-a-device',
      what: 'this folder is not an emulated device (it has no factory/agent.json)',
      where: directory,
      cure: 'Give a folder that the demo, or scripts/emulator/make-device.ts, made.',
      exitStatus: EXIT.input,
      cause,
    });
  }
  return new EmulatedDevice(resolve(directory), demoUserspace);
}

async function main(directories: readonly string[]): Promise<void> {
  if (directories.length === 0) {
    throw new Fault({
      code: 'usage',
      what: 'no device was given',
      cure: 'usage: node scripts/emulator/main.ts DEVICE_DIR [DEVICE_DIR ...]',
      exitStatus: EXIT.usage,
    });
  }
  const devices = await Promise.all(directories.map(openDevice));
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.on(signal, () => {
      for (const device of devices) void device.powerOff();
    });
  }
  process.stdout.write(
    `${JSON.stringify({ event: 'power-on', devices: devices.map((device) => device.directory) })}\n`,
  );
  await Promise.all(devices.map((device) => device.powerOn()));
}

try {
  await main(process.argv.slice(2));
} catch (error) {
  process.exitCode = reportFailure('emulator', error, { json: false, debug: false });
}
