/**
 * Who may do what: one table of operations, each with the weakest role that may. Roles are ordered, weakest first
 * (protocol/operator-api.ts): each may do what those before it may. Every route of the operator API names an operation.
 */
import { ROLES, type Role } from '../../protocol/operator-api.ts';

export const OPERATIONS = {
  'whoami.read': 'viewer',
  'devices.read': 'viewer',
  'releases.read': 'viewer',
  'rollouts.read': 'viewer',
  'audit.read': 'viewer',
  'events.read': 'viewer',
  'metrics.read': 'viewer',
  'metadata.read': 'viewer',
  'artifacts.read': 'viewer',
  'documentation.read': 'viewer',
  /** Uploading is not publishing: what counts is signed by people whose keys the server never sees. */
  'artifacts.write': 'operator',
  /** Firmware may be confidential. */
  'artifacts.download': 'operator',
  'releases.publish': 'operator',
  'rollouts.start': 'operator',
  'rollouts.pause': 'operator',
  'rollouts.cancel': 'operator',
  /** After a halt somebody must have looked. */
  'rollouts.resume': 'operator',
  'claims.create': 'operator',
  'lab.push': 'operator',
  'devices.revoke': 'approver',
  /** It decides that a copy is the original. */
  'devices.approve': 'approver',
  'rotations.read': 'viewer',
  'rotations.start': 'operator',
  'rotations.pause': 'operator',
  'rotations.resume': 'operator',
  'rotations.cancel': 'operator',
  'escrow.read': 'viewer',
  'escrow.request': 'operator',
  /** A second person, once there are two (store/escrow.ts). */
  'escrow.approve': 'approver',
  'escrow.fetch': 'operator',
  'tokens.read': 'admin',
  'tokens.create': 'admin',
  'tokens.revoke': 'admin',
} as const satisfies Record<string, Role>;

export type Operation = keyof typeof OPERATIONS;

export function mayDo(role: Role, operation: Operation): boolean {
  return ROLES.indexOf(role) >= ROLES.indexOf(OPERATIONS[operation]);
}
