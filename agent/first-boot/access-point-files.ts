/**
 * The passphrase of an access point in the files of those who run one: hostapd.conf and NetworkManager's keyfiles. Pure.
 * Sources: hostapd.conf of hostap 2.11; nm-settings-keyfile(5). A form that hides a secret elsewhere is undefined: it is
 * named, not guessed at.
 */

export type AccessPointForm = 'hostapd' | 'network-manager';

/** The file with this passphrase in every place that takes one. Undefined when it is not of a form that is known here. */
export function setPassphrase(form: AccessPointForm, text: string, passphrase: string): string | undefined {
  return form === 'hostapd' ? setHostapd(text, passphrase) : setKeyfile(text, passphrase);
}

/** Every secret that stands in the file. */
export function passphrasesOf(form: AccessPointForm, text: string): string[] {
  const found: string[] = [];
  for (const line of text.split('\n')) {
    if (form === 'hostapd') {
      const [, name, value = ''] = /^(wpa_passphrase|wpa_psk|sae_password)=(.*)$/.exec(line) ?? [];
      if (name !== undefined) found.push(name === 'sae_password' ? (value.split('|')[0] ?? '') : value);
    } else {
      const value = /^\s*psk\s*=\s*(.*?)\s*$/.exec(line)?.[1];
      if (value !== undefined) found.push(value);
    }
  }
  return found;
}

/** Secrets that are in another file, or that are no passphrase at all. */
const HOSTAPD_ELSEWHERE = /^(?:wpa_psk_file|sae_password_file|wep_key[0-3]|wpa_psk_radius=[12])/m;

function setHostapd(text: string, passphrase: string): string | undefined {
  if (HOSTAPD_ELSEWHERE.test(text)) return undefined;
  let found = false;
  const lines = text.split('\n').map((line) => {
    const [, name, value = ''] = /^(wpa_passphrase|wpa_psk|sae_password)=(.*)$/.exec(line) ?? [];
    if (name === undefined) return line;
    found = true;
    // A key in hexadecimal goes: hostapd makes it from the passphrase.
    if (name !== 'sae_password') return `wpa_passphrase=${passphrase}`;
    const [, ...limits] = value.split('|');
    return ['sae_password=', passphrase, ...limits.map((limit) => `|${limit}`)].join('');
  });
  return found ? lines.join('\n') : undefined;
}

function setKeyfile(text: string, passphrase: string): string | undefined {
  let section = '';
  let isAccessPoint = false;
  let found = false;
  const lines = text.split('\n').flatMap((line) => {
    section = /^\s*\[(.+)\]\s*$/.exec(line)?.[1] ?? section;
    if (/^(?:wifi|802-11-wireless)$/.test(section) && /^\s*mode\s*=\s*ap\s*$/.test(line)) isAccessPoint = true;
    if (!/^(?:wifi-security|802-11-wireless-security)$/.test(section)) return [line];
    // With flags the secret would be asked of somebody else.
    if (/^\s*psk-flags\s*=/.test(line)) return [];
    if (!/^\s*psk\s*=/.test(line)) return [line];
    found = true;
    return [`psk=${passphrase}`];
  });
  return isAccessPoint && found ? lines.join('\n') : undefined;
}
