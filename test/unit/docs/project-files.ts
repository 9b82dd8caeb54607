/** How the document tests read the project: documents, declared symbols and names of tests. */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as ts from 'typescript';

export const ROOT = fileURLToPath(new URL('../../../', import.meta.url));

export function readProjectFile(path: string): Promise<string> {
  return readFile(join(ROOT, path), 'utf8');
}

/** Every Markdown file of the project, as paths from its root. */
export async function documents(): Promise<string[]> {
  const top = (await readdir(ROOT)).filter((name) => name.endsWith('.md'));
  const below = (await readdir(join(ROOT, 'docs'), { recursive: true })).filter((name) => name.endsWith('.md'));
  return [...top, ...below.map((name) => `docs/${name}`)].sort();
}

/** Names declared at the top level of a file, and `Name.member` for members of classes, interfaces and objects. */
export async function declaredSymbols(path: string): Promise<Set<string>> {
  const source = ts.createSourceFile(path, await readProjectFile(path), ts.ScriptTarget.Latest, true);
  const names = new Set<string>();
  const add = (name: string, members: Iterable<ts.Node>): void => {
    names.add(name);
    for (const member of members) {
      const memberName =
        ts.isClassElement(member) || ts.isTypeElement(member) || ts.isObjectLiteralElement(member)
          ? member.name
          : undefined;
      if (
        memberName !== undefined &&
        (ts.isIdentifier(memberName) || ts.isStringLiteral(memberName) || ts.isPrivateIdentifier(memberName))
      ) {
        names.add(`${name}.${memberName.text}`);
      }
    }
  };
  for (const statement of source.statements) {
    if (ts.isVariableStatement(statement)) {
      for (const { name, initializer } of statement.declarationList.declarations) {
        if (ts.isIdentifier(name)) add(name.text, objectMembers(initializer));
      }
    } else if (ts.isClassDeclaration(statement) || ts.isInterfaceDeclaration(statement)) {
      if (statement.name !== undefined) add(statement.name.text, statement.members);
    } else if (
      (ts.isFunctionDeclaration(statement) || ts.isTypeAliasDeclaration(statement)) &&
      statement.name !== undefined
    ) {
      add(statement.name.text, []);
    }
  }
  return names;
}

function objectMembers(node: ts.Expression | undefined): Iterable<ts.Node> {
  if (node === undefined) return [];
  if (ts.isAsExpression(node) || ts.isSatisfiesExpression(node)) return objectMembers(node.expression);
  return ts.isObjectLiteralExpression(node) ? node.properties : [];
}

/** Every text in a file that could name a test or one row of a table of tests. */
export async function textsOf(path: string): Promise<string[]> {
  const source = ts.createSourceFile(path, await readProjectFile(path), ts.ScriptTarget.Latest, true);
  const texts: string[] = [];
  const visit = (node: ts.Node): void => {
    if (ts.isStringLiteralLike(node) || ts.isTemplateHead(node)) texts.push(node.text);
    ts.forEachChild(node, visit);
  };
  visit(source);
  return texts;
}
