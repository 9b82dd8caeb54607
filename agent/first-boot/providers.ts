/**
 * All providers of a device, in the order in which they work: the same at every boot, because the record counts them.
 * Host keys come first (sshd answers nothing without), the account files before the keys that are looked for through
 * them, the device's key before what the server knows by it, a maker's own last.
 */
import type { CredentialProvider } from '../core/first-boot-ports.ts';
import { AccessPoint } from './providers/access-point.ts';
import { AuthorizedKeys } from './providers/authorized-keys.ts';
import { DeviceKeyProvider } from './providers/device-key.ts';
import { FileTemplate } from './providers/file-template.ts';
import { MachineId } from './providers/machine-id.ts';
import { MakerProvider } from './providers/maker.ts';
import { SshHostKeys } from './providers/ssh-host-keys.ts';
import { UnixPasswords } from './providers/unix-passwords.ts';
import type { ProvidersConfig } from './providers-config.ts';
import type { ProviderWorld } from './world.ts';

export function openProviders(config: ProvidersConfig, world: ProviderWorld): CredentialProvider[] {
  const { sshHostKeys, unixPasswords, authorizedKeys, machineId, deviceKey } = config;
  return [
    ...(sshHostKeys === null ? [] : [new SshHostKeys(world, sshHostKeys)]),
    new UnixPasswords(world, unixPasswords),
    ...(authorizedKeys === null ? [] : [new AuthorizedKeys(world, authorizedKeys)]),
    ...(machineId ? [new MachineId(world)] : []),
    new DeviceKeyProvider(world, deviceKey),
    ...config.accessPoints.map((one) => new AccessPoint(world, one)),
    ...config.templates.map((one) => {
      const files = one.files.map((file) => ({ ...file, mode: Number.parseInt(file.mode, 8) }));
      return new FileTemplate(world, { ...one, files });
    }),
    ...config.makers.map((one) => new MakerProvider(world, one)),
  ];
}
