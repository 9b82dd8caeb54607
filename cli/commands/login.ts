/** `holdfast login` and `holdfast status`: which server, with which rights, and how the fleet is. */
import { join } from 'node:path';
import type { Command } from 'commander';
import * as v from 'valibot';
import { EXIT, Fault } from '../../platform/fault.ts';
import { readInputFile } from '../../platform/input-file.ts';
import { ApiClient, type ServerAccess } from '../api-client.ts';
import { addCommand, type Finish, type Outcome, onRun } from '../command.ts';
import type { Output } from '../output.ts';
import { writeProfile } from '../profile.ts';
import { meetServer, withServer } from '../session.ts';

const TOKEN_CAP_BYTES = 4096;
const CA_CAP_BYTES = 64 * 1024;

interface LoginOptions {
  readonly server?: string;
  readonly ca?: string;
  readonly serverData?: string;
  readonly tokenFile?: string;
  readonly name: string;
}

/** Written by the server once it listens; fields that are not needed here may come and go. */
const Endpoints = v.object({ operatorUrl: v.string(), serverCa: v.string() });

function wrong(code: string, what: string, where: string, cure: string): Fault {
  return new Fault({ code, what, where, cure, exitStatus: EXIT.input });
}

async function findServer(options: LoginOptions): Promise<{ url: string; caPath: string }> {
  if (options.serverData === undefined) {
    if (options.server !== undefined && options.ca !== undefined) return { url: options.server, caPath: options.ca };
    const cure = 'Give --server URL and --ca FILE, or --server-data FOLDER on the machine of the server.';
    throw new Fault({ code: 'option-missing', what: 'the server is not named', cure, exitStatus: EXIT.usage });
  }
  const path = join(options.serverData, 'endpoints.json');
  const bytes = await readInputFile(path, 64 * 1024, "a server's endpoints.json");
  try {
    const endpoints = v.parse(Endpoints, JSON.parse(Buffer.from(bytes).toString('utf8')));
    return { url: options.server ?? endpoints.operatorUrl, caPath: options.ca ?? endpoints.serverCa };
  } catch {
    throw wrong(
      'endpoints-malformed',
      'this is not an endpoints.json of a server',
      path,
      'Start the server; it writes the file once it listens.',
    );
  }
}

function serverUrl(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url?.protocol === 'https:' && url.pathname === '/' && url.search === '' && url.username === '') return url.origin;
  throw wrong(
    'url-malformed',
    `'${text}' is not the address of a server`,
    '--server',
    'Write it like https://updates.acme.example:8444.',
  );
}

async function readCa(path: string): Promise<string> {
  const text = Buffer.from(await readInputFile(path, CA_CAP_BYTES, 'a PEM certificate')).toString('latin1');
  if (text.includes('-----BEGIN CERTIFICATE-----')) return text;
  throw wrong(
    'ca-malformed',
    'there is no PEM certificate in the file',
    path,
    'Give the file pki/server-ca.pem of the server.',
  );
}

async function readStdin(): Promise<Uint8Array> {
  if (process.stdin.isTTY) process.stderr.write('One-time token (end with Enter): ');
  const pieces: Buffer[] = [];
  let sizeBytes = 0;
  for await (const piece of process.stdin as AsyncIterable<Buffer>) {
    pieces.push(piece);
    sizeBytes += piece.length;
    if (sizeBytes > TOKEN_CAP_BYTES || (process.stdin.isTTY && piece.includes(0x0a))) break;
  }
  return Buffer.concat(pieces);
}

async function readToken(file: string | undefined): Promise<string> {
  const bytes = file === undefined ? await readStdin() : await readInputFile(file, TOKEN_CAP_BYTES, 'a token file');
  const token = Buffer.from(bytes).toString('latin1').trim();
  if (/^[\x21-\x7e]{8,128}$/.test(token)) return token;
  const cure =
    'Give the token that the server printed at its first start, alone, in --token-file FILE or on standard input.';
  throw wrong('token-malformed', 'this is not a token', file ?? 'standard input', cure);
}

/** A one-time token is exchanged; a lasting one (from `holdfast tokens create`) is kept as it is. */
async function lastingToken(access: ServerAccess, name: string): Promise<string> {
  const api = new ApiClient(access);
  try {
    return (await api.login(name)).token;
  } catch (error) {
    if (error instanceof Fault && error.code === 'token-lasting') return access.token;
    throw error;
  } finally {
    api.close();
  }
}

async function login(out: Output, options: LoginOptions): Promise<Outcome> {
  const found = await findServer(options);
  const access = {
    serverUrl: serverUrl(found.url),
    ca: await readCa(found.caPath),
    token: await readToken(options.tokenFile),
  };
  const token = await lastingToken(access, options.name);
  // Kept before anything else is asked: the one-time token is spent, and there is no other.
  const profile = { ...access, format: 'holdfast-profile-1', token, name: options.name, role: '', met: null } as const;
  const path = await writeProfile(profile);
  const api = new ApiClient({ ...access, token });
  try {
    const { name, role, met } = await meetServer(api, profile);
    out.environment(met.environment);
    out.say(`Logged in to ${access.serverUrl} as ${name} (${role}). The token is kept in ${path}.`);
    out.next('holdfast status', 'holdfast devices claims --class CLASS --ids cam-0001,cam-0002 --out CLAIMS');
    return { document: { serverUrl: access.serverUrl, name, role, environment: met.environment, profile: path } };
  } finally {
    api.close();
  }
}

function status(out: Output): Promise<Outcome> {
  return withServer(out, async ({ api, profile }) => {
    const [whoami, { devices }, { rollouts }, { releases }] = await Promise.all([
      api.whoami(),
      api.devices(),
      api.rollouts(),
      api.releases(),
    ]);
    const online = devices.filter((device) => device.online).length;
    const onTarget = devices.filter((device) => device.reason === 'on-target').length;
    const active = rollouts.filter(({ state }) => state === 'running' || state === 'paused' || state === 'halted');
    out.table([
      ['server', `${profile.serverUrl} (${whoami.serverVersion})`],
      ['environment', whoami.environment],
      ['you are', `${whoami.name} (${whoami.role})`],
      ['devices', `${devices.length}, ${online} online, ${onTarget} on target`],
      ['releases', String(releases.length)],
      ['rollouts', `${rollouts.length}, of which ${active.length} want attention or time`],
      ...active.map((rollout) => ['', `${rollout.rolloutId} ${rollout.state}: ${rollout.reason}`]),
    ]);
    const document = {
      serverUrl: profile.serverUrl,
      ...whoami,
      devices: { total: devices.length, online, onTarget },
      releases: releases.length,
      rollouts: active.map(({ rolloutId, state, reason }) => ({ rolloutId, state, reason })),
    };
    return { document };
  });
}

export function addLoginCommands(program: Command, finish: Finish): void {
  const loginCommand = addCommand(program, {
    usage: 'login',
    summary: 'connect this user to a server',
    details:
      'Takes the one-time token that the server printed at its first start, and exchanges it for a lasting one;\n' +
      'or a token that an admin made with `holdfast tokens create`.\n' +
      'The token is read from a file or from standard input, never from the command line.',
    examples: [
      'holdfast login --server https://updates.acme.example:8444 --ca server-ca.pem --token-file token.txt',
      'holdfast login --server-data ~/holdfast-server < token.txt',
    ],
  })
    .option('--server <URL>', 'address of the operator listener')
    .option('--ca <FILE>', "the authority of the server's certificate (PEM)")
    .option('--server-data <FOLDER>', 'the data folder of a server on this machine, instead of --server and --ca')
    .option('--token-file <FILE>', 'file with the token; standard input when absent')
    .option('--name <NAME>', 'what the lasting token is called in the audit log', 'operator');
  onRun<LoginOptions>(loginCommand, finish, login);
  const statusCommand = addCommand(program, {
    usage: 'status',
    summary: 'show the server, your rights and how the fleet is',
    examples: ['holdfast status', 'holdfast status --json'],
  });
  onRun(statusCommand, finish, (out) => status(out));
}
