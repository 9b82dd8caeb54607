/**
 * Makes the demo product's images: node scripts/images/main.ts --version 1.0.0 --sequence 1 --out DIR [--broken-app]
 */
import { parseArgs } from 'node:util';
import { reportFailure } from '../../platform/command-line.ts';
import { EXIT, Fault } from '../../platform/fault.ts';
import { startProgress } from '../progress.ts';
import { BUILT_BUNDLES, makeDemoImages } from './demo-images.ts';

const USAGE = `usage: node scripts/images/main.ts --version VERSION --sequence NUMBER --out DIR
  [--broken-app]        the app starts, and its health check fails
  [--rootfs-mib 64]     size of rootfs.img
  [--boot-mib 4]        size of boot.img
  [--agent FILE]        the agent's bundle (dist/holdfast-agent.mjs)
  [--firstboot FILE]    the bundle of its first boot (dist/holdfast-firstboot.mjs)`;

function usageFault(what: string): Fault {
  return new Fault({ code: 'usage', what, cure: USAGE, exitStatus: EXIT.usage });
}

function wholeNumber(name: string, value: string, least: number): number {
  const number = Number(value);
  if (!Number.isSafeInteger(number) || number < least)
    throw usageFault(`--${name} must be a whole number, at least ${least}`);
  return number;
}

function readOptions() {
  try {
    return parseArgs({
      options: {
        version: { type: 'string' },
        sequence: { type: 'string' },
        out: { type: 'string' },
        'broken-app': { type: 'boolean', default: false },
        'rootfs-mib': { type: 'string', default: '64' },
        'boot-mib': { type: 'string', default: '4' },
        agent: { type: 'string', default: BUILT_BUNDLES.agentFile },
        firstboot: { type: 'string', default: BUILT_BUNDLES.firstBootFile },
      },
    }).values;
  } catch (error) {
    throw usageFault(error instanceof Error ? error.message : String(error));
  }
}

async function main(): Promise<void> {
  const options = readOptions();
  if (options.version === undefined || options.sequence === undefined || options.out === undefined) {
    throw usageFault('--version, --sequence and --out are needed');
  }
  const progress = startProgress(`images of ${options.version}`, 1);
  const images = await makeDemoImages({
    version: options.version,
    sequence: wholeNumber('sequence', options.sequence, 1),
    outDirectory: options.out,
    brokenApp: options['broken-app'],
    rootfsMib: wholeNumber('rootfs-mib', options['rootfs-mib'], 4),
    bootMib: wholeNumber('boot-mib', options['boot-mib'], 1),
    agentFile: options.agent,
    firstBootFile: options.firstboot,
    onProgress: progress.update,
  });
  progress.end();
  process.stdout.write(`${JSON.stringify(images)}\n`);
}

try {
  await main();
} catch (error) {
  process.exitCode = reportFailure('images', error, { json: false, debug: false });
}
