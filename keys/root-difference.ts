/**
 * What a signer is shown of a new root: every difference to the one that they trust, by name. Pure. Nothing is passed
 * over: a member that no row here knows is compared as bytes and reported as changed.
 */
import { ownerIdOf } from '../protocol/escrow.ts';
import { hex, unhex } from '../trust/bytes.ts';
import { canonicalJson } from '../trust/json.ts';
import type { RoleName, Root } from '../trust/tuf/metadata.ts';

export interface RootChange {
  /** `owner added`, `root threshold`, `expires`. */
  readonly what: string;
  readonly detail: string;
}

const ROLES: readonly RoleName[] = ['root', 'targets', 'snapshot', 'timestamp'];
/** Members that have rows of their own, or follow from those that have. */
const KNOWN = ['_type', 'version', 'expires', 'roles', 'keys', 'holdfast'];
const KNOWN_HOLDFAST = ['environment', 'authors', 'servers', 'escrowKeys'];

const owner = (key: string): string => hex(ownerIdOf(unhex(key) ?? new Uint8Array()));
const same = (a: unknown, b: unknown): boolean => hex(canonicalJson([a ?? null])) === hex(canonicalJson([b ?? null]));

function lists(what: string, before: readonly string[], after: readonly string[]): RootChange[] {
  return [
    ...before.filter((each) => !after.includes(each)).map((detail) => ({ what: `${what} removed`, detail })),
    ...after.filter((each) => !before.includes(each)).map((detail) => ({ what: `${what} added`, detail })),
  ];
}

function values(what: string, before: string | number, after: string | number): RootChange[] {
  return before === after ? [] : [{ what, detail: `${before} → ${after}` }];
}

function others(before: object, after: object, known: readonly string[], prefix: string): RootChange[] {
  const [a, b] = [new Map<string, unknown>(Object.entries(before)), new Map<string, unknown>(Object.entries(after))];
  return [...new Set([...a.keys(), ...b.keys()])]
    .filter((name) => !known.includes(name) && !same(a.get(name), b.get(name)))
    .map((name) => ({ what: `${prefix}${name}`, detail: 'changed: look at the file' }));
}

export function rootDifference(before: Root, after: Root): readonly RootChange[] {
  const authors = (root: Root): string[] =>
    root.holdfast.authors.map((each) => `${each.keyId} (${each.algorithm}) for ${each.hardwareClasses.join(', ')}`);
  const servers = (root: Root): string[] =>
    root.holdfast.servers.map((each) => `${each.url} ${each.mqttUrl ?? ''} with ${each.anchors.length} anchors`);
  return [
    ...values('version', before.version, after.version),
    ...values('expires', before.expires, after.expires),
    ...values('environment', before.holdfast.environment, after.holdfast.environment),
    ...ROLES.flatMap((role) => [
      ...values(`${role} threshold`, before.roles[role].threshold, after.roles[role].threshold),
      ...lists(`${role} key`, before.roles[role].keyids, after.roles[role].keyids),
    ]),
    ...lists('author', authors(before), authors(after)),
    ...lists('server', servers(before), servers(after)),
    ...anchorsChanged(before, after),
    ...lists('owner', before.holdfast.escrowKeys.map(owner), after.holdfast.escrowKeys.map(owner)),
    ...keysChanged(before, after),
    ...others(before, after, KNOWN, ''),
    ...others(before.holdfast, after.holdfast, KNOWN_HOLDFAST, 'holdfast '),
  ];
}

/** The same addresses with other certificates look alike in a list. */
function anchorsChanged(before: Root, after: Root): RootChange[] {
  return same(before.holdfast.servers, after.holdfast.servers)
    ? []
    : [{ what: 'servers', detail: 'addresses or their certificates changed: look at the file' }];
}

/** A key that stands in no role does nothing yet; a signer should still know. */
function keysChanged(before: Root, after: Root): RootChange[] {
  const used = new Set(ROLES.flatMap((role) => [...before.roles[role].keyids, ...after.roles[role].keyids]));
  return lists('unused key', Object.keys(before.keys), Object.keys(after.keys)).filter(
    ({ detail }) => !used.has(detail),
  );
}
