/**
 * No clock and no randomness in trust/, protocol/ and the cores, checked on the syntax tree. Time and chance come in
 * through ports; that is what lets every decision be replayed.
 *
 * May not be fooled by names: `ports.clock.setTimeout` is a property, `setTimeout` alone is the world.
 */
import { readFile } from 'node:fs/promises';
import * as ts from 'typescript';

/** Globals that reach the world, whatever is done with them. */
const WORLDLY_GLOBALS = new Set([
  'performance',
  'process',
  'globalThis',
  'setTimeout',
  'setInterval',
  'setImmediate',
  'queueMicrotask',
  'fetch',
  'crypto',
  'console',
  'require',
  'Temporal',
  'eval',
  'Function',
]);

export interface Impurity {
  readonly line: number;
  readonly what: string;
}

/** Every use of a clock, a random number or another worldly global in one file's text. */
export function findImpurities(fileName: string, text: string): Impurity[] {
  const source = ts.createSourceFile(fileName, text, ts.ScriptTarget.Latest, true);
  const found: Impurity[] = [];
  const own = declaredNames(source);
  const visit = (node: ts.Node): void => {
    const what = ts.isIdentifier(node) && own.has(node.text) ? undefined : impurityOf(node);
    if (what !== undefined) found.push({ line: source.getLineAndCharacterOfPosition(node.getStart()).line + 1, what });
    ts.forEachChild(node, visit);
  };
  visit(source);
  return found;
}

/** Names of the file's own variables, parameters and functions: they hide the globals of the same name. */
function declaredNames(source: ts.SourceFile): Set<string> {
  const names = new Set<string>();
  const visit = (node: ts.Node): void => {
    const declares =
      ts.isVariableDeclaration(node) ||
      ts.isParameter(node) ||
      ts.isBindingElement(node) ||
      ts.isFunctionDeclaration(node);
    if (declares && node.name !== undefined && ts.isIdentifier(node.name)) names.add(node.name.text);
    ts.forEachChild(node, visit);
  };
  visit(source);
  return names;
}

function impurityOf(node: ts.Node): string | undefined {
  if (ts.isTypeNode(node) || ts.isImportDeclaration(node)) return undefined;
  if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword) return 'import() at run time';
  if (ts.isMetaProperty(node)) return 'import.meta';
  if (!ts.isIdentifier(node) || !isReference(node)) return undefined;
  if (WORLDLY_GLOBALS.has(node.text)) return node.text;
  const { parent } = node;
  if (node.text === 'Math' && ts.isPropertyAccessExpression(parent) && parent.name.text === 'random')
    return 'Math.random';
  if (node.text === 'Math' && ts.isElementAccessExpression(parent)) return 'Math[…]';
  if (node.text === 'Date') return impurityOfDate(node, parent);
  return undefined;
}

/** `new Date(ms)`, `Date.UTC` and `Date.parse` are arithmetic; everything else of Date reads the clock. */
function impurityOfDate(node: ts.Identifier, parent: ts.Node): string | undefined {
  if (ts.isNewExpression(parent) && parent.expression === node) {
    return (parent.arguments ?? []).length === 0 ? 'new Date()' : undefined;
  }
  if (ts.isPropertyAccessExpression(parent)) {
    return ['UTC', 'parse'].includes(parent.name.text) ? undefined : `Date.${parent.name.text}`;
  }
  return 'Date';
}

/** False where the identifier only names something: a property, a parameter's key, a type, an import. */
function isReference(node: ts.Identifier): boolean {
  const { parent } = node;
  if (ts.isPropertyAccessExpression(parent)) return parent.expression === node;
  if (ts.isShorthandPropertyAssignment(parent)) return true;
  if (ts.isPropertyAssignment(parent)) return parent.initializer === node;
  if (ts.isBindingElement(parent)) return parent.initializer === node;
  if (ts.isVariableDeclaration(parent) || ts.isParameter(parent)) return parent.initializer === node;
  if (ts.isTypeReferenceNode(parent) || ts.isImportSpecifier(parent) || ts.isExportSpecifier(parent)) return false;
  return !(
    ts.isPropertySignature(parent) ||
    ts.isMethodSignature(parent) ||
    ts.isMethodDeclaration(parent) ||
    ts.isPropertyDeclaration(parent) ||
    ts.isFunctionDeclaration(parent) ||
    ts.isInterfaceDeclaration(parent) ||
    ts.isTypeAliasDeclaration(parent) ||
    ts.isQualifiedName(parent) ||
    ts.isTypeQueryNode(parent)
  );
}

/** Planted sources: each must be found, or this checker has gone blind. */
export const PLANTED_IMPURITIES: readonly string[] = [
  'export const at = Date.now();',
  'export const at = new Date();',
  'export const at = Date();',
  'export const now = Date;',
  'export const chance = Math.random();',
  'export const at = performance.now();',
  'export function later(f: () => void) { setTimeout(f, 1); }',
  'export const id = crypto.randomUUID();',
  'export const id = globalThis.crypto;',
  'export const home = process.env.HOME;',
  'export const fs = await import("node:fs");',
];

/** Sources that must not be found: the checker is no use if it cries at everything. */
export const INNOCENT_SOURCES: readonly string[] = [
  'export const at = new Date(0).toISOString();',
  'export const at = Date.UTC(2026, 0, 1);',
  'export interface Clock { setTimeout(ms: number): void; readonly performance: number }',
  'export function wait(clock: { setTimeout(ms: number): void }) { clock.setTimeout(1); }',
  'export const largest = Math.max(1, 2);',
  'export function wait(fetch: () => void) { fetch(); }',
];

export async function impuritiesOfFile(path: string, name: string): Promise<string[]> {
  return findImpurities(name, await readFile(path, 'utf8')).map(({ line, what }) => `${name}:${line} uses ${what}`);
}
