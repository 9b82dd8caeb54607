/** The systemd units of an image as systemd would load them: folders in their order, drop-ins, masks, what is enabled. */
import type { TreeView } from './tree.ts';

/** As in systemd.unit(5); what is missing is a link to another, or not there. */
const UNIT_FOLDERS = [
  'etc/systemd/system',
  'usr/local/lib/systemd/system',
  'usr/lib/systemd/system',
  'lib/systemd/system',
];
const UNIT_NAME = /^[A-Za-z0-9:_.@\\-]+\.(service|socket|target|mount|timer|path)$/;
const PULLS = new Set(['Wants', 'Requires', 'BindsTo', 'Upholds', 'Requisite', 'Sockets']);

/** Targets that every boot passes: what these want themselves, or by a drop-in, starts too. */
const BOOT_TARGETS = [
  'local-fs.target',
  'sysinit.target',
  'sockets.target',
  'timers.target',
  'paths.target',
  'basic.target',
  'network.target',
  'getty.target',
  'multi-user.target',
  'graphical.target',
];

/** Of a value that goes over many lines. */
const VALUE_CAP_CHARACTERS = 16_384;

export interface Setting {
  readonly section: string;
  readonly key: string;
  readonly value: string;
  readonly path: string;
  readonly line: number;
}

export interface Enabled {
  /** The link, or the unit, that starts it. */
  readonly by: string;
}

export class Units {
  readonly #view: TreeView;
  readonly #folders: readonly string[];
  readonly #settings = new Map<string, readonly Setting[]>();
  #enabled: ReadonlyMap<string, Enabled> | undefined;

  constructor(view: TreeView) {
    this.#view = view;
    const resolved = UNIT_FOLDERS.flatMap((folder) => view.resolve(folder)?.path ?? []);
    this.#folders = [...new Set(resolved)];
  }

  /** Folders that are there, links followed, each once. */
  get folders(): readonly string[] {
    return this.#folders;
  }

  /** Names of all unit files, aliases too. */
  names(): readonly string[] {
    const all = this.#folders.flatMap((folder) => this.#view.names(folder));
    return [...new Set(all)].filter((name) => UNIT_NAME.test(name));
  }

  /** Where the unit's file stands: the first folder counts, and a template stands for its instances. */
  path(name: string): string | undefined {
    for (const candidate of [name, templateOf(name)]) {
      if (candidate === undefined) continue;
      for (const folder of this.#folders) {
        if (this.#view.entry(`${folder}/${candidate}`) !== undefined) return `${folder}/${candidate}`;
      }
    }
    return undefined;
  }

  isMasked(name: string): boolean {
    const path = this.path(name);
    if (path === undefined) return false;
    const entry = this.#view.entry(path);
    if (entry?.kind === 'link') return entry.target === '/dev/null' || this.#view.resolve(path)?.kind === 'other';
    return entry?.kind === 'file' && entry.sizeBytes === 0;
  }

  exists(name: string): boolean {
    return this.path(name) !== undefined && !this.isMasked(name);
  }

  /** The unit's own settings, then those of its drop-ins. */
  settings(name: string): readonly Setting[] {
    const known = this.#settings.get(name);
    if (known !== undefined) return known;
    const path = this.path(name);
    const own = path === undefined || this.isMasked(name) ? [] : parseUnit(this.#view, path);
    const all = [...own, ...this.#dropIns(name).flatMap((dropIn) => parseUnit(this.#view, dropIn))];
    this.#settings.set(name, all);
    return all;
  }

  /** The value that counts of a setting that stands once: the last. */
  last(name: string, key: string): Setting | undefined {
    return this.settings(name).findLast((setting) => setting.key === key);
  }

  /** All values of a list, emptied where a setting is empty. */
  list(name: string, key: string): readonly Setting[] {
    const found: Setting[] = [];
    for (const setting of this.settings(name)) {
      if (setting.key !== key) continue;
      if (setting.value === '') found.length = 0;
      else found.push(setting);
    }
    return found;
  }

  /** Drop-ins in their order of names; of one name the first folder counts. */
  #dropIns(name: string): string[] {
    const dropIns = new Map<string, string>();
    for (const owner of dropInOwners(name, this.#aliasesOf(name))) {
      for (const folder of this.#folders) {
        for (const file of this.#view.names(`${folder}/${owner}.d`)) {
          if (file.endsWith('.conf') && !dropIns.has(file)) dropIns.set(file, `${folder}/${owner}.d/${file}`);
        }
      }
    }
    return [...dropIns].sort(([left], [right]) => (left < right ? -1 : 1)).map(([, path]) => path);
  }

  /** Instances that have drop-ins and no file of their own: `getty@tty1.service`. */
  instancesWithDropIns(): readonly string[] {
    const all = this.#folders.flatMap((folder) => this.#view.names(folder));
    return all.filter((name) => /@[^.]+\.service\.d$/.test(name)).map((name) => name.slice(0, -2));
  }

  /** Drop-ins of PID 1's own configuration. */
  systemConfigurations(): readonly string[] {
    return ['etc', 'usr/lib'].flatMap((folder) => {
      const place = `${folder}/systemd/system.conf.d`;
      return this.#view
        .names(place)
        .filter((name) => name.endsWith('.conf'))
        .map((name) => `${place}/${name}`);
    });
  }

  /** Any file of systemd's format. */
  parse(path: string): readonly Setting[] {
    return parseUnit(this.#view, path);
  }

  /** Names of links that lead to this unit's file, and of the file that it leads to. */
  #aliasesOf(name: string): string[] {
    const path = this.path(name);
    const target = path === undefined ? undefined : this.#view.resolve(path)?.path;
    return target === undefined ? [] : [target.slice(target.lastIndexOf('/') + 1)];
  }

  /** Units that something starts at boot: links in .wants and .requires, targets of every boot, and what those pull in. */
  enabled(): ReadonlyMap<string, Enabled> {
    if (this.#enabled !== undefined) return this.#enabled;
    const found = new Map<string, Enabled>();
    const waiting: string[] = [];
    const take = (name: string, by: string): void => {
      if (found.has(name) || !UNIT_NAME.test(name) || this.isMasked(name)) return;
      found.set(name, { by });
      waiting.push(name);
    };
    for (const folder of this.#folders) {
      for (const owner of this.#view.names(folder).filter((name) => /\.(wants|requires|upholds)$/.test(name))) {
        for (const name of this.#view.names(`${folder}/${owner}`)) take(name, `${folder}/${owner}/${name}`);
      }
    }
    waiting.push(...BOOT_TARGETS);
    for (let name = waiting.pop(); name !== undefined; name = waiting.pop()) {
      for (const { key, value, path } of this.settings(name)) {
        if (PULLS.has(key)) for (const pulled of value.split(/\s+/)) take(pulled, path);
      }
      // A socket starts the service of its name.
      if (name.endsWith('.socket')) {
        const service = this.last(name, 'Service')?.value ?? name.replace(/\.socket$/, '.service');
        for (const started of [service, service.replace('.service', '@.service')]) {
          if (this.path(started) !== undefined) take(started, this.path(name) ?? '');
        }
      }
    }
    this.#enabled = found;
    return found;
  }
}

/** `getty@.service` of `getty@tty1.service`. */
function templateOf(name: string): string | undefined {
  const template = name.replace(/^([^@]+@)[^.]+(\..*)$/, '$1$2');
  return template === name ? undefined : template;
}

/** systemd.unit(5): the unit, its template, its type, the beginnings of its name that end in a dash, and aliases. */
function dropInOwners(name: string, aliases: readonly string[]): string[] {
  const ending = name.slice(name.lastIndexOf('.'));
  const prefixes = [...name.matchAll(/-/g)].map(({ index }) => `${name.slice(0, index + 1)}${ending}`).reverse();
  const template = templateOf(name);
  return [name, ...(template === undefined ? [] : [template]), ...aliases, ...prefixes, ending.slice(1)];
}

function parseUnit(view: TreeView, path: string): Setting[] {
  const found: Setting[] = [];
  const lines = view.lines(path);
  let section = '';
  for (let index = 0; index < lines.length; index += 1) {
    const line = index + 1;
    let text = (lines[index] ?? '').trim();
    if (text === '' || /^[#;]/.test(text)) continue;
    while (text.endsWith('\\') && index + 1 < lines.length) {
      index += 1;
      const next = (lines[index] ?? '').trim();
      if (!/^[#;]/.test(next)) text = `${text.slice(0, -1)} ${next}`.slice(0, VALUE_CAP_CHARACTERS);
    }
    const head = /^\[(.+)\]$/.exec(text)?.[1];
    if (head !== undefined) section = head;
    const [, key, value = ''] = /^([A-Za-z0-9]+)\s*=\s*(.*)$/.exec(text) ?? [];
    if (key !== undefined) found.push({ section, key, value: value.trim(), path, line });
  }
  return found;
}

/** The program of an Exec line: without its marks, quotes and arguments. */
export function programOf(value: string): string {
  const plain = value.replace(/^[@:+!|-]+/, '');
  return (
    /^"([^"]*)"|^'([^']*)'|^(\S+)/
      .exec(plain)
      ?.slice(1)
      .find((part) => part !== undefined) ?? ''
  );
}
