/**
 * agent.json: what an image's maker says of a device. Read once at start, strict: an unknown or missing field stops the
 * agent with the field's name and a cure, because a misspelt safety setting must not be ignored in silence.
 *
 * Paths in the file are relative to the file; `AgentConfig` holds them absolute. Durations are milliseconds.
 */
import { dirname, resolve } from 'node:path';
import * as v from 'valibot';
import { type Disk, FileTooLarge } from '../platform/disk.ts';
import { EXIT, errorText, Fault } from '../platform/fault.ts';
import { Name } from '../protocol/device-api.ts';
import { BoardConfig, resolveBoard } from './boards/board-config.ts';

export const CONFIG_CAP_BYTES = 64 * 1024;

const DAY_MS = 24 * 3600 * 1000;
const Path = v.pipe(v.string(), v.minLength(1), v.maxLength(1024));
const Count = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
const Duration = (minMs: number, maxMs: number) =>
  v.pipe(v.number(), v.safeInteger(), v.minValue(minMs), v.maxValue(maxMs));
const Unit = v.pipe(v.string(), v.regex(/^[A-Za-z0-9][\w:.@\\-]{0,254}$/));
const Url = (protocol: string) =>
  v.pipe(
    v.string(),
    v.maxLength(256),
    v.check(
      (text) => URL.canParse(text) && new URL(text).protocol === protocol,
      `must be a URL that begins with ${protocol}//`,
    ),
  );

/** The whole file, as it stands on disk. docs/AGENT_CONFIG.md is generated from it. */
export const ConfigFile = v.strictObject({
  format: v.literal('holdfast-agent-1'),
  /** Only where the claim does not say it: the claim's id is the device's id. */
  deviceId: v.optional(Name),
  vendor: v.pipe(v.string(), v.regex(/^[a-z0-9][a-z0-9.-]{0,127}$/)),
  hardwareClass: Name,
  channel: Name,
  environment: v.picklist(['production', 'lab', 'rehearsal']),
  board: BoardConfig,
  /** `host`: the clock is synchronised by whoever made it; `timesyncd`: ask systemd-timesyncd's marker file. */
  clock: v.optional(v.picklist(['host', 'timesyncd'])),
  dataDirectory: Path,
  factoryRoot: Path,
  factoryInstalled: v.strictObject({ sequence: Count, version: v.pipe(v.string(), v.minLength(1), v.maxLength(64)) }),
  claimFile: Path,
  server: v.strictObject({ url: Url('https:'), mqttUrl: v.nullable(Url('mqtts:')), anchorsFile: Path }),
  health: v.optional(
    v.strictObject({
      /** Folder of executables, or null when the image has none of its own. */
      directory: v.optional(v.nullable(Path), null),
      deadlineMs: v.optional(Duration(100, 3600_000), 30_000),
      builtin: v.optional(
        v.strictObject({
          minFreeBytes: v.optional(Count, 1024 * 1024),
          minAvailableMemoryBytes: v.optional(Count, 8 * 1024 * 1024),
          /** No unit may fail that had not failed before the update. Where systemd does not run, nothing is asked. */
          systemd: v.optional(v.boolean(), true),
          /** Must be active. */
          units: v.optional(v.pipe(v.array(Unit), v.maxLength(64)), []),
          startDeadlineMs: v.optional(Duration(0, 3600_000), 120_000),
          settleMs: v.optional(Duration(0, 3600_000), 10_000),
        }),
        {},
      ),
    }),
    {},
  ),
  poll: v.optional(v.strictObject({ intervalMs: v.optional(Duration(200, 7 * DAY_MS), 300_000) }), {}),
  trial: v.optional(
    v.strictObject({
      serverWaitMs: v.optional(Duration(0, DAY_MS), 300_000),
      /** A hardware watchdog that the agent holds while a slot is on trial, or null. */
      watchdogDevice: v.optional(v.nullable(Path), null),
    }),
    {},
  ),
  hooks: v.optional(
    v.strictObject({
      /** Folder of executables that run before a reboot, or null. */
      beforeReboot: v.optional(v.nullable(Path), null),
      deadlineMs: v.optional(Duration(100, 3600_000), 30_000),
      inUse: v.optional(
        v.strictObject({
          /** Status 0: in use; 1: free. */
          program: v.optional(v.nullable(Path), null),
          /** In use while it is there. */
          file: v.optional(v.nullable(Path), null),
          askEveryMs: v.optional(Duration(100, DAY_MS), 60_000),
          limitMs: v.optional(Duration(0, 31 * DAY_MS), DAY_MS),
          /** Also puts off the beginning of a download. */
          download: v.optional(v.boolean(), false),
        }),
        {},
      ),
    }),
    {},
  ),
  // Less than this would be taken for a server that sends too slowly.
  network: v.optional(
    v.strictObject({
      maxBytesPerSecond: v.optional(v.nullable(v.pipe(v.number(), v.safeInteger(), v.minValue(16 * 1024))), null),
      /** For smaller forms of images that the server is still making, all in all; else by environment. */
      transportWaitMs: v.optional(Duration(0, DAY_MS)),
      /** Does the link cost by the byte? `auto`: ask NetworkManager. */
      metered: v.optional(v.picklist(['auto', 'always', 'never'])),
      /** What images may take of metered links; null: nothing. */
      budget: v.optional(
        v.nullable(
          v.strictObject({
            bytes: v.pipe(v.number(), v.safeInteger(), v.minValue(8 * 1024 * 1024)),
            per: v.picklist(['day', 'month']),
          }),
        ),
        null,
      ),
    }),
    {},
  ),
  retry: v.optional(
    v.strictObject({
      baseMs: v.optional(Duration(10, 3600_000), 1000),
      capMs: v.optional(Duration(10, DAY_MS), 300_000),
    }),
    {},
  ),
  /** Read as strictly by the program that it is for (agent/first-boot/first-boot-config.ts), which keeps the device closed. */
  firstBoot: v.optional(v.unknown()),
});
type ConfigFile = v.InferOutput<typeof ConfigFile>;

export interface AgentConfig extends Omit<ConfigFile, 'clock' | 'network'> {
  readonly clock: 'host' | 'timesyncd';
  readonly network: ConfigFile['network'] & { readonly metered: 'auto' | 'always' | 'never' };
  /** The file it was read from. */
  readonly path: string;
}

const CURES: Readonly<Record<string, string>> = {
  format: 'Set format to "holdfast-agent-1".',
  vendor: 'Give the vendor name that releases are signed for, such as acme.example.',
  hardwareClass: 'Give the hardware class that releases are signed for, such as acme-cam.',
  environment: 'Say production, lab or rehearsal: what the factory root says of itself.',
  board: 'Say which board: u-boot, tryboot, exec, emulated or none; docs/BOARDS.md lists the fields of each.',
  server: 'Give server.url (https://…), server.mqttUrl (mqtts://… or null) and server.anchorsFile.',
  health: 'Give units by name ("acme-app.service"), times in milliseconds.',
  hooks: 'Give beforeReboot a folder, inUse a program or a file, times in milliseconds.',
  network: 'Say metered auto, always or never; a budget like { "bytes": 50000000, "per": "month" }.',
  trial: 'Give a watchdogDevice like "/dev/watchdog", or null.',
  firstBoot: 'Correct the field; docs/AGENT_CONFIG.md lists every field of firstBoot.',
  factoryInstalled: 'Say which release the factory wrote: { "sequence": 1, "version": "1.0.0" }.',
};

/** Reads and checks agent.json. Throws a Fault (exit 3) that names the field and the cure; touches nothing else. */
export async function readConfig(disk: Disk, path: string): Promise<AgentConfig> {
  const absolute = resolve(path);
  return configOf(await readConfigText(disk, absolute), absolute);
}

/** The same of text that stands at `absolute`, or will. */
export function configOf(text: string, absolute: string): AgentConfig {
  const file = decodeConfig(text, absolute);
  const at = (relative: string): string => resolve(dirname(absolute), relative);
  const atOrNull = (relative: string | null): string | null => (relative === null ? null : at(relative));
  const { health, hooks, network, trial } = file;
  const emulated = file.board.kind === 'emulated';
  return {
    ...file,
    path: absolute,
    clock: file.clock ?? (emulated ? 'host' : 'timesyncd'),
    board: resolveBoard(file.board, at),
    dataDirectory: at(file.dataDirectory),
    factoryRoot: at(file.factoryRoot),
    claimFile: at(file.claimFile),
    server: { ...file.server, anchorsFile: at(file.server.anchorsFile) },
    health: { ...health, directory: atOrNull(health.directory) },
    hooks: {
      ...hooks,
      beforeReboot: atOrNull(hooks.beforeReboot),
      inUse: { ...hooks.inUse, program: atOrNull(hooks.inUse.program), file: atOrNull(hooks.inUse.file) },
    },
    trial: { ...trial, watchdogDevice: atOrNull(trial.watchdogDevice) },
    // A laptop's own link is none of its emulated devices' business.
    network: { ...network, metered: network.metered ?? (emulated ? 'never' : 'auto') },
  };
}

export async function readConfigText(disk: Disk, path: string): Promise<string> {
  try {
    const bytes = await disk.readFile(path, CONFIG_CAP_BYTES);
    if (bytes === undefined) {
      throw new Fault({
        code: 'config-missing',
        what: 'there is no configuration file',
        where: path,
        cure: 'Give the path of agent.json with --config.',
        exitStatus: EXIT.input,
      });
    }
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (error) {
    if (error instanceof FileTooLarge || error instanceof TypeError) throw malformed(path, errorText(error), error);
    throw error;
  }
}

function decodeConfig(text: string, path: string): ConfigFile {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw malformed(path, errorText(error), error);
  }
  const result = v.safeParse(ConfigFile, json);
  if (!result.success) throw invalidField(path, result.issues[0]);
  const { environment, board, retry } = result.output;
  if (environment === 'production' && board.kind === 'emulated') {
    throw new Fault({
      code: 'config-invalid',
      what: 'a production device cannot have the emulated board',
      where: `${path}, field board.kind`,
      cure: 'Choose the board that the hardware has, or an environment of lab or rehearsal.',
      exitStatus: EXIT.input,
    });
  }
  if (retry.baseMs > retry.capMs) {
    throw new Fault({
      code: 'config-invalid',
      what: `the first pause (${retry.baseMs} ms) is longer than the longest (${retry.capMs} ms)`,
      where: `${path}, field retry.baseMs`,
      cure: 'Make retry.baseMs at most retry.capMs.',
      exitStatus: EXIT.input,
    });
  }
  return result.output;
}

function malformed(path: string, what: string, cause: unknown): Fault {
  return new Fault({
    code: 'config-malformed',
    what: `the configuration is not JSON text (${what})`,
    where: path,
    cure: 'Correct the file; the factory image holds the original.',
    exitStatus: EXIT.input,
    cause,
  });
}

/** `within`: the member that was read by itself. */
export function invalidField(path: string, issue: v.BaseIssue<unknown>, within?: string): Fault {
  const keys = [...(within === undefined ? [] : [within]), ...(issue.path ?? []).map((item) => String(item.key))];
  const field = keys.join('.') || '(the whole file)';
  const unknownField = issue.expected === 'never';
  const missing = issue.received === 'undefined' || (issue.type === 'strict_object' && issue.input === undefined);
  const what = unknownField
    ? `the configuration has a field that the agent does not know: ${field}`
    : missing
      ? `the configuration lacks the field ${field}`
      : `the field ${field} is wrong: ${issue.message}`;
  return new Fault({
    code: 'config-invalid',
    what: what.slice(0, 300),
    where: `${path}, field ${field}`,
    cure: unknownField
      ? 'Remove the field, or correct its spelling.'
      : (CURES[field.split('.')[0] ?? ''] ?? `Correct the field ${field}; docs/AGENT_CONFIG.md lists every field.`),
    exitStatus: EXIT.input,
  });
}
