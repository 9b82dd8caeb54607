/**
 * What `holdfast-server run` is told, checked. Secrets are named by file, never given on the command line.
 */
import { resolve } from 'node:path';
import { Command, CommanderError, InvalidArgumentError } from 'commander';
import * as v from 'valibot';
import { EXIT, Fault } from '../platform/fault.ts';
import { Name } from '../protocol/device-api.ts';
import { CREDENTIALS_GATES, CredentialsGate } from '../protocol/operator-api.ts';
import { type CredentialPolicy, USUAL_POLICY } from './core/credential-standing.ts';
import type { PreparationSettings } from './transport/preparation.ts';

export interface ServerConfig {
  readonly dataDirectory: string;
  /** The ceremony's server folder; only looked at when the data folder has no repository yet. */
  readonly keysDirectory: string | undefined;
  readonly sealingKeyFile: string | undefined;
  readonly host: string;
  readonly devicePort: number;
  readonly operatorPort: number;
  readonly mqttPort: number;
  /** Names under which the server is reached; the first one stands in the addresses that it gives out. */
  readonly names: readonly string[];
  /** Null: not a lab. */
  readonly lab: { readonly vendor: string } | null;
  /** How often rollouts are moved on. */
  readonly tickMs: number;
  /** What devices are told to wait between polls. */
  readonly pollAfterMs: number;
  readonly transport: PreparationSettings;
  readonly credentialPolicy: CredentialPolicy;
  readonly logLevel: string;
  readonly json: boolean;
  readonly debug: boolean;
}

/** What the first line on the way out is told by: also when the command line itself is wrong. */
export interface OutputWishes {
  readonly json: boolean;
  readonly debug: boolean;
}

const HOUR_MS = 3600 * 1000;
const DAY_MS = 24 * HOUR_MS;
const LOG_LEVELS = ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'];

const HELP = `
Examples:
  $ holdfast-server run --data server-data --keys ceremony/server
  $ holdfast-server run --data server-data                # every later start
  $ holdfast-server --lab --data lab-data                 # for testers: signs by itself
  $ holdfast-server --lab --data lab-data --credentials-gate report   # for devices that do no first boot

The sealing key is taken from --sealing-key, else from the systemd credential holdfast-sealing-key, else from
sealing.key in the folder of --keys; its place is remembered. The first start prints a token: exchange it with
\`holdfast login\`.
Signals: SIGTERM and SIGINT end the server in order; SIGUSR2 drops every MQTT connection (devices come back).
Exit status: 0 ended in order, 2 command line, 3 a file or key that was given, 5 port or disk, 7 damaged data folder.
`;

interface Options {
  readonly data?: string;
  readonly keys?: string;
  readonly sealingKey?: string;
  readonly host: string;
  readonly devicePort: number;
  readonly operatorPort: number;
  readonly mqttPort: number;
  readonly name: readonly string[];
  readonly lab: boolean;
  readonly labVendor: string;
  readonly tickMs: number;
  readonly pollAfterMs: number;
  readonly deltaReleases: number;
  readonly deltaMemoryMib: number;
  readonly transportDiskMib: number;
  readonly credentialsGate: string;
  readonly factoryCertificateHours: number;
  readonly logLevel: string;
  readonly json: boolean;
  readonly debug: boolean;
}

export const outputWishes = (args: readonly string[]): OutputWishes => ({
  json: args.includes('--json'),
  debug: args.includes('--debug'),
});

/** Undefined when only help or the version was asked for. Fault `command-line-wrong`. */
export function decodeCommandLine(args: readonly string[], version: string): ServerConfig | undefined {
  let config: ServerConfig | undefined;
  const command = buildCommand(version, (options) => {
    config = configOf(options);
  });
  try {
    command.parse([...args], { from: 'user' });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    if (error.exitCode === 0) return undefined;
    throw usage(error.message.replace(/^error: /, ''));
  }
  return config;
}

/** The options of `holdfast-server run`, for its document. */
export function serverOptions(): { readonly flags: string; readonly description: string; readonly standard: string }[] {
  const run = buildCommand('', () => undefined).commands.find((command) => command.name() === 'run');
  return (run?.options ?? []).map(({ flags, description, defaultValue }) => {
    const none = defaultValue === undefined || defaultValue === false || Array.isArray(defaultValue);
    return { flags, description, standard: none ? '' : String(defaultValue) };
  });
}

function buildCommand(version: string, onRun: (options: Options) => void): Command {
  const program = new Command('holdfast-server')
    .description('The update server: enrols devices, publishes signed releases, rolls them out.')
    .version(version)
    .exitOverride()
    .configureOutput({ writeErr: () => undefined });
  program
    .command('run', { isDefault: true })
    .description('Start the server (the default command).')
    .option('--data <folder>', 'the data folder; made at the first start')
    .option('--keys <folder>', "the ceremony's server folder, for the first start")
    .option('--sealing-key <file>', 'the key that opens the online keys')
    .option('--host <address>', 'address to listen on', '127.0.0.1')
    .option('--device-port <port>', 'HTTPS for devices; 0 takes a free one', decodePort, 8443)
    .option('--operator-port <port>', 'HTTPS for people and the page', decodePort, 8444)
    .option('--mqtt-port <port>', 'MQTT for devices', decodePort, 8883)
    .option('--name <name...>', 'DNS names or addresses under which the server is reached', [])
    .option('--lab', 'a lab: no ceremony, signs what testers push', false)
    .option('--lab-vendor <name>', 'vendor of lab releases', 'acme.example')
    .option('--tick-ms <ms>', 'how often rollouts are moved on', decodeMs(10, 60_000), 1000)
    .option('--poll-after-ms <ms>', 'how long devices wait between polls', decodeMs(50, 7 * DAY_MS), 60_000)
    .option(
      '--delta-releases <n>',
      'make recipes from the last n releases of a class and channel; 0: none',
      decodeWhole(0, 32),
      3,
    )
    .option(
      '--delta-memory-mib <mib>',
      'what making a recipe may take; above it the work is given up',
      decodeWhole(128, 262_144),
      1536,
    )
    .option(
      '--transport-disk-mib <mib>',
      'what packed images, recipes and indexes may take on disk',
      decodeWhole(1, 67_108_864),
      20_480,
    )
    .option(
      '--credentials-gate <mode>',
      `what is done about devices that have not proven that their factory secrets are gone: ${CREDENTIALS_GATES.join(', ')}`,
      USUAL_POLICY.gate,
    )
    .option(
      '--factory-certificate-hours <hours>',
      'what a certificate of such a device is good for, where the gate is enforced',
      decodeWhole(1, 8760),
      USUAL_POLICY.factoryCertificateMs / HOUR_MS,
    )
    .option('--log-level <level>', LOG_LEVELS.join(', '), 'info')
    .option('--json', 'print the ready line, and failures, as JSON', false)
    .option('--debug', 'print stack traces', false)
    .addHelpText('after', HELP)
    .exitOverride()
    .configureOutput({ writeErr: () => undefined })
    .action((options: Options) => onRun(options));
  return program;
}

function configOf(options: Options): ServerConfig {
  if (options.data === undefined) throw usage('the option --data <folder> is missing');
  if (!LOG_LEVELS.includes(options.logLevel)) throw usage(`there is no log level ${options.logLevel}`);
  if (!v.is(CredentialsGate, options.credentialsGate)) {
    throw usage(`the credentials gate is ${CREDENTIALS_GATES.join(' or ')}, not ${options.credentialsGate}`);
  }
  for (const name of options.name) {
    if (!/^[A-Za-z0-9.:-]{1,253}$/.test(name)) throw usage(`${name} is neither a DNS name nor an address`);
  }
  if (!v.is(Name, options.labVendor)) throw usage(`${options.labVendor} is not a vendor name`);
  if (options.lab && options.keys !== undefined) throw usage('--lab makes its own keys: leave --keys away');
  return {
    dataDirectory: resolve(options.data),
    keysDirectory: options.keys === undefined ? undefined : resolve(options.keys),
    sealingKeyFile: options.sealingKey === undefined ? undefined : resolve(options.sealingKey),
    host: options.host,
    devicePort: options.devicePort,
    operatorPort: options.operatorPort,
    mqttPort: options.mqttPort,
    names: options.name,
    lab: options.lab ? { vendor: options.labVendor } : null,
    tickMs: options.tickMs,
    pollAfterMs: options.pollAfterMs,
    transport: {
      recipesFrom: options.deltaReleases,
      memoryCapBytes: options.deltaMemoryMib * 2 ** 20,
      diskCapBytes: options.transportDiskMib * 2 ** 20,
    },
    credentialPolicy: {
      gate: v.parse(CredentialsGate, options.credentialsGate),
      factoryCertificateMs: options.factoryCertificateHours * HOUR_MS,
    },
    logLevel: options.logLevel,
    json: options.json,
    debug: options.debug,
  };
}

function decodePort(text: string): number {
  const port = /^\d{1,5}$/.test(text) ? Number(text) : Number.NaN;
  if (!(port <= 65_535)) throw new InvalidArgumentError('A port is a number from 0 to 65535.');
  return port;
}

const decodeMs =
  (least: number, most: number) =>
  (text: string): number => {
    const ms = /^\d{1,12}$/.test(text) ? Number(text) : Number.NaN;
    if (!(ms >= least && ms <= most)) throw new InvalidArgumentError(`Give milliseconds from ${least} to ${most}.`);
    return ms;
  };

const decodeWhole =
  (least: number, most: number) =>
  (text: string): number => {
    const number = /^\d{1,9}$/.test(text) ? Number(text) : Number.NaN;
    if (!(number >= least && number <= most)) throw new InvalidArgumentError(`Give a number from ${least} to ${most}.`);
    return number;
  };

const usage = (what: string): Fault =>
  new Fault({
    code: 'command-line-wrong',
    what,
    cure: 'See holdfast-server run --help.',
    exitStatus: EXIT.usage,
  });
