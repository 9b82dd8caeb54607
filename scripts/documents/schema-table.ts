/** Turns a protocol schema into rows for a document: field, type and bounds. Reads schemas; knows no document. */
import { toJsonSchema } from '@valibot/to-json-schema';
import type { GenericSchema } from 'valibot';
import { Name, Sha256Hex, TargetPath } from '../../protocol/device-api.ts';

type JsonSchema = ReturnType<typeof toJsonSchema>;

export interface FieldRow {
  /** Path in the body: `reports[].event`. */
  readonly field: string;
  readonly type: string;
}

const NAMED_PATTERNS: readonly (readonly [schema: GenericSchema, text: string])[] = [
  [Name, 'name'],
  [Sha256Hex, 'SHA-256, hex'],
  [TargetPath, 'target path'],
];

function patternText(pattern: string): string {
  const named = NAMED_PATTERNS.find(([schema]) => convert(schema).pattern === pattern);
  if (named !== undefined) return named[1];
  if (pattern === '^[A-Za-z0-9_-]+$') return 'base64url';
  return `text like \`${pattern.replaceAll('|', '\\|')}\``;
}

function convert(schema: GenericSchema): JsonSchema {
  return toJsonSchema(schema, { errorMode: 'ignore' });
}

function isSchema(value: unknown): value is JsonSchema {
  return typeof value === 'object' && value !== null;
}

/** The type of one value, in words; parts of objects and lists get rows of their own. */
function typeText(schema: JsonSchema): string {
  if (schema.const !== undefined) return `\`${String(schema.const)}\``;
  if (schema.enum !== undefined) return schema.enum.map((value) => `\`${String(value)}\``).join(', ');
  const choices = schema.anyOf ?? schema.oneOf;
  if (choices !== undefined) {
    const texts = choices.filter(isSchema).map(typeText);
    if (!texts.every((text) => text === 'object')) return texts.join(' or ');
    return `object of kind ${choices.filter(isSchema).map(kindOf).join(', ')}`;
  }
  switch (schema.type) {
    case 'integer':
    case 'number':
      return numberText(schema);
    case 'string':
      return `${schema.pattern === undefined ? 'text' : patternText(schema.pattern)}${schema.maxLength === undefined ? '' : `, at most ${schema.maxLength}`}`;
    case 'array':
      return `list${schema.minItems === undefined ? '' : `, at least ${schema.minItems}`}${schema.maxItems === undefined ? '' : `, at most ${schema.maxItems}`}`;
    case undefined:
      return 'anything';
    default:
      return String(schema.type);
  }
}

function kindOf(schema: JsonSchema): string {
  const kind = schema.properties?.kind;
  return isSchema(kind) ? typeText(kind) : '';
}

function numberText(schema: JsonSchema): string {
  const largest = schema.maximum === Number.MAX_SAFE_INTEGER ? undefined : schema.maximum;
  const kind = schema.type === 'integer' ? 'whole number' : 'number';
  const smallest = schema.minimum === undefined || schema.minimum === 0 ? '' : `, at least ${schema.minimum}`;
  return `${kind}${smallest}${largest === undefined ? '' : `, at most ${largest}`}`;
}

function rowsOf(schema: JsonSchema, path: string): FieldRow[] {
  const parts = (schema.anyOf ?? schema.oneOf ?? []).filter(isSchema).filter(({ type }) => type !== 'null');
  const only = parts.length === 1 ? parts[0] : undefined;
  if (only !== undefined) return rowsOf(only, path);
  if (schema.type === 'array' && isSchema(schema.items) && !Array.isArray(schema.items)) {
    const items = rowsOf(schema.items, `${path}[]`);
    return items.length > 0 ? items : [{ field: `${path}[]`, type: typeText(schema.items) }];
  }
  if (schema.type !== 'object') return [];
  return Object.entries(schema.properties ?? {}).flatMap(([name, value]) => {
    if (!isSchema(value)) return [];
    const field = path === '' ? name : `${path}.${name}`;
    return [{ field, type: `${typeText(value)}${optionText(schema, name, value)}` }, ...rowsOf(value, field)];
  });
}

function optionText(schema: JsonSchema, name: string, value: JsonSchema): string {
  if ((schema.required ?? []).includes(name)) return '';
  const { default: standard } = value;
  return standard === undefined || (typeof standard === 'object' && standard !== null)
    ? ' (optional)'
    : ` (default ${String(standard)})`;
}

/** Every field of a body, in the order of its schema. */
export function fieldRows(schema: GenericSchema): FieldRow[] {
  return rowsOf(convert(schema), '');
}

export function fieldTable(schema: GenericSchema): string {
  return table(
    ['field', 'type'],
    fieldRows(schema).map(({ field, type }) => [`\`${field}\``, type]),
  );
}

/** One row per kind of a union that is told apart by `kind`. */
export function kindTable(schema: GenericSchema): string {
  const kinds = (convert(schema).oneOf ?? []).filter(isSchema);
  const rows = kinds.map((kind) => {
    const fields = rowsOf(kind, '').filter(({ field }) => field !== 'kind');
    return [kindOf(kind), fields.map(({ field, type }) => `\`${field}\`: ${type}`).join('; ')];
  });
  return table(['kind', 'fields'], rows);
}

export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}
