/**
 * `firstBoot.providers` of agent.json: which credentials this device has. Strict and bounded, like the rest of the file.
 * What is left out has its safe default: passwords locked, host keys, authorized_keys, machine-id and device key of the
 * device's own. Paths of the image are absolute; docs/FIRST_BOOT.md tells each field.
 */
import { isAbsolute, normalize } from 'node:path';
import * as v from 'valibot';

const ImagePath = v.pipe(
  v.string(),
  v.maxLength(512),
  v.check(
    (path) => isAbsolute(path) && normalize(path) === path && !path.endsWith('/'),
    'must be an absolute path without dots',
  ),
);
/** Part of a CredentialName, and of file names. */
const Part = v.pipe(v.string(), v.regex(/^[a-z0-9][a-z0-9_.-]{0,31}$/));
const Account = v.pipe(v.string(), v.regex(/^[A-Za-z_][A-Za-z0-9_.-]{0,31}$/));
const Words = v.pipe(v.array(v.pipe(v.string(), v.maxLength(512))), v.minLength(1), v.maxLength(16));
const areUnique = (names: readonly string[]): boolean => new Set(names).size === names.length;
const haveOwnNames = (all: readonly { name: string }[]): boolean => areUnique(all.map(({ name }) => name));

const Template = v.strictObject({
  name: Part,
  kind: v.picklist(['mqtt-password', 'application-password', 'api-token']),
  files: v.pipe(
    v.array(
      v.pipe(
        v.strictObject({
          template: ImagePath,
          path: ImagePath,
          owner: v.optional(Account, 'root'),
          group: v.optional(Account, 'root'),
          /** Only its owner, or its owner and group, ever read it. */
          mode: v.optional(v.picklist(['0600', '0640', '0400', '0440']), '0600'),
        }),
        v.check(({ template, path }) => template !== path, 'the template and the file cannot be one'),
      ),
    ),
    v.minLength(1),
    v.maxLength(8),
  ),
  escrow: v.optional(v.boolean(), false),
  checkNew: v.optional(v.nullable(Words), null),
  checkOldRefused: v.optional(v.nullable(Words), null),
});

export const ProvidersConfig = v.strictObject({
  /** How a file of the device's takes effect over the image's; `auto`: as its file system is mounted. */
  files: v.optional(v.picklist(['auto', 'bound', 'in-place']), 'auto'),
  /** `breakGlass`: the one account with a password, which the owner gets from the escrow; null: keys only. */
  unixPasswords: v.optional(v.strictObject({ breakGlass: v.optional(v.nullable(Account), null) }), {}),
  /** Null: this device has no sshd. */
  sshHostKeys: v.optional(
    v.nullable(
      v.strictObject({
        types: v.optional(
          v.pipe(
            v.array(v.picklist(['ed25519', 'ecdsa', 'rsa'])),
            v.minLength(1),
            v.check((types) => areUnique(types), 'no type twice'),
          ),
          ['ed25519'],
        ),
      }),
    ),
    {},
  ),
  authorizedKeys: v.optional(
    v.nullable(v.strictObject({ accounts: v.optional(v.pipe(v.array(Account), v.maxLength(8)), ['root']) })),
    {},
  ),
  machineId: v.optional(v.boolean(), true),
  /** `adopt`: a device of the field, whose key an earlier agent made on it. */
  deviceKey: v.optional(v.strictObject({ adopt: v.optional(v.boolean(), false) }), {}),
  accessPoints: v.optional(
    v.pipe(
      v.array(v.strictObject({ name: Part, form: v.picklist(['hostapd', 'network-manager']), path: ImagePath })),
      v.maxLength(4),
      v.check((all) => haveOwnNames(all), 'no two may have the same name'),
    ),
    [],
  ),
  templates: v.optional(
    v.pipe(
      v.array(Template),
      v.maxLength(12),
      v.check((all) => haveOwnNames(all), 'no two may have the same name'),
    ),
    [],
  ),
  makers: v.optional(
    v.pipe(
      v.array(
        v.strictObject({
          name: Part,
          executable: ImagePath,
          deadlineMs: v.optional(v.pipe(v.number(), v.safeInteger(), v.minValue(100), v.maxValue(600_000)), 60_000),
        }),
      ),
      v.maxLength(4),
      v.check((all) => haveOwnNames(all), 'no two may have the same name'),
    ),
    [],
  ),
});
export type ProvidersConfig = v.InferOutput<typeof ProvidersConfig>;
