/** The agent's command line, decoded: small, strict, no library. A wrong one is a Fault with exit status 2. */
import { parseArgs } from 'node:util';
import { EXIT, errorText, Fault } from '../platform/fault.ts';

export const USAGE = `holdfast-agent: keeps this device on firmware that its owner signed

  holdfast-agent run --config FILE [--once]
      Enrol if need be, then poll, install, confirm and report until SIGTERM. --once: one round, then end.
  holdfast-agent status --config FILE [--json]
      What this device runs, what it is doing, and why it is not further.
  holdfast-agent verify --config FILE --release PATH [--from DIR | --server URL] [--state DIR] [--json]
      Check a release as an install would, block by block, and install nothing.
      PATH is the release's target path: releases/<class>/<channel>/<sequence>/release.suit
      --from DIR reads metadata/ and targets/ from a directory; --state DIR keeps trusted metadata between runs.
  holdfast-agent install DIR --config FILE [--release PATH] [--json]
      Install from a stick: the newest release in DIR for this device, or PATH. Reboots into it; checks decide there.
      The same verifier as for a server. DIR: holdfast release export. Stop the agent first.
  holdfast-agent enrol --config FILE [--json]
      Prove the claim, fetch this device's certificate, and end.
  holdfast-agent doctor --config FILE [--json] [--self-test]
      What is missing here for a safe update, and how to cure it. Exit 4 when something is.
      --self-test takes the board's flags through an update without one, and keeps a report.
  holdfast-agent adopt [--answers FILE] [--yes | --undo] [--json]
      What taking this machine over would change. --yes does it, --undo takes it back. FILE: fields of agent.json.
  holdfast-agent firstboot --config FILE [--boot | --rotate] [--json]
      Which secrets this device has. --boot, for its unit: own ones stand, or it stays closed (4). --rotate: new ones.
  holdfast-agent password --user NAME --config FILE [--stdin] [--json]
      Give an account of this device a password of your own: typed twice, or one line on standard input. As root.
  holdfast-agent label --config FILE [--stdin] [--json]
      Is this the text of this device's label? 0: it is, 4: it is not. For the setup program of the device's maker.

  --debug   a stack trace when something fails      --version   --help
exit: 0 done · 2 usage · 3 a file or setting is wrong · 4 refused · 5 this machine · 6 the server · 7 damaged state
`;

export const COMMANDS = [
  'run',
  'status',
  'verify',
  'install',
  'enrol',
  'doctor',
  'adopt',
  'password',
  'label',
] as const;
export type CommandName = (typeof COMMANDS)[number];

const OPTIONS = {
  config: { type: 'string' },
  release: { type: 'string' },
  from: { type: 'string' },
  server: { type: 'string' },
  state: { type: 'string' },
  once: { type: 'boolean', default: false },
  'self-test': { type: 'boolean', default: false },
  answers: { type: 'string' },
  yes: { type: 'boolean', default: false },
  undo: { type: 'boolean', default: false },
  user: { type: 'string' },
  stdin: { type: 'boolean', default: false },
  json: { type: 'boolean', default: false },
  debug: { type: 'boolean', default: false },
  help: { type: 'boolean', short: 'h', default: false },
  version: { type: 'boolean', default: false },
} as const;

/** What the packaged unit reads (agent/systemd/holdfast-agent.service): an adoption has this one place. */
const ADOPTED_CONFIG = '/etc/holdfast/agent.json';

/** Options that a command takes besides `--config`, `--json` and `--debug`. */
const TAKES: Readonly<Record<CommandName, readonly string[]>> = {
  run: ['once'],
  status: [],
  verify: ['release', 'from', 'server', 'state'],
  install: ['release'],
  enrol: [],
  doctor: ['self-test'],
  adopt: ['answers', 'yes', 'undo'],
  password: ['user', 'stdin'],
  label: ['stdin'],
};
const OWN = Object.values(TAKES).flat();

export interface CommandOptions {
  readonly command: CommandName;
  readonly config: string;
  /** What the command is given besides options: install's DIR. */
  readonly argument: string | undefined;
  readonly release?: string | undefined;
  readonly from?: string | undefined;
  readonly server?: string | undefined;
  readonly state?: string | undefined;
  readonly once: boolean;
  readonly selfTest: boolean;
  readonly answers?: string | undefined;
  readonly yes: boolean;
  readonly undo: boolean;
  readonly user?: string | undefined;
  readonly stdin: boolean;
  readonly json: boolean;
}

export type CommandLine =
  | { readonly ask: 'help' | 'version' }
  | { readonly ask: 'command'; readonly options: CommandOptions };

/** Throws a Fault with exit status 2. */
export function decodeCommandLine(words: readonly string[]): CommandLine {
  const { values, positionals } = parse(words);
  if (values.help || words.length === 0) return { ask: 'help' };
  if (values.version) return { ask: 'version' };
  const [command, ...rest] = positionals;
  if (!isCommand(command))
    throw usage(command === undefined ? 'no command was given' : `there is no command ${command}`);
  const argument = command === 'install' ? rest.shift() : undefined;
  if (rest.length > 0) throw usage(`${command} takes no ${rest[0]}`);
  const foreign = OWN.find((name) => isGiven(values[name as keyof typeof values]) && !TAKES[command].includes(name));
  if (foreign !== undefined) throw usage(`${command} takes no --${foreign}`);
  const config = command === 'adopt' ? ADOPTED_CONFIG : values.config;
  if (config === undefined) throw usage(`${command} needs --config FILE`);
  if (command === 'adopt' && values.config !== undefined) throw usage('adopt takes no --config');
  if (values.yes && values.undo) throw usage('give --yes or --undo, not both');
  if (command === 'install' && argument === undefined) throw usage('install needs the directory to install from');
  if (command === 'verify' && values.release === undefined) throw usage('verify needs --release PATH');
  if (command === 'password' && values.user === undefined) throw usage('password needs --user NAME');
  if (values.from !== undefined && values.server !== undefined) throw usage('give --from or --server, not both');
  return { ask: 'command', options: { ...values, command, config, argument, selfTest: values['self-test'] } };
}

function isGiven(value: string | boolean | undefined): boolean {
  return value !== undefined && value !== false;
}

function isCommand(word: string | undefined): word is CommandName {
  return COMMANDS.some((command) => command === word);
}

function parse(words: readonly string[]) {
  try {
    return parseArgs({ args: [...words], options: OPTIONS, allowPositionals: true, strict: true });
  } catch (error) {
    throw usage(errorText(error).split('. ')[0] ?? '');
  }
}

function usage(what: string): Fault {
  return new Fault({ code: 'usage', what, cure: 'See holdfast-agent --help.', exitStatus: EXIT.usage });
}
