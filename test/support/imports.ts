import ts from 'ts60';

export type ImportKind =
  /** `import … from`, `export … from`, `import 'x'`: loaded with the file. */
  | 'static'
  /** `import('x')`: loaded when it is called. */
  | 'dynamic'
  /** `import type`, `export type … from`, `import('x').T`, `/// <reference types>`: gone after compilation. */
  | 'type';

export interface Import {
  readonly kind: ImportKind;
  /** What stands between the quotes; undefined where it is computed, so that nobody can check it. */
  readonly specifier: string | undefined;
  readonly line: number;
}

/**
 * Every way in which a source file names another one. TypeScript 6 reads it, because the native compiler has no
 * JavaScript API and a lexer for JavaScript stumbles over types.
 */
export function importsOf(file: string, source: string): Import[] {
  const tree = ts.createSourceFile(file, source, ts.ScriptTarget.Latest, true, ts.ScriptKind.TS);
  const found: Import[] = [];
  const add = (kind: ImportKind, node: ts.Node, specifier: ts.Node | undefined): void => {
    const text = specifier !== undefined && ts.isStringLiteralLike(specifier) ? specifier.text : undefined;
    found.push({ kind, specifier: text, line: lineOf(tree, node.getStart(tree)) });
  };
  const visit = (node: ts.Node): void => {
    if (ts.isImportDeclaration(node)) {
      add(node.importClause?.phaseModifier === ts.SyntaxKind.TypeKeyword ? 'type' : 'static', node, node.moduleSpecifier);
    } else if (ts.isExportDeclaration(node) && node.moduleSpecifier) {
      add(node.isTypeOnly ? 'type' : 'static', node, node.moduleSpecifier);
    } else if (ts.isImportTypeNode(node)) {
      add('type', node, ts.isLiteralTypeNode(node.argument) ? node.argument.literal : undefined);
    } else if (ts.isExternalModuleReference(node)) {
      add('static', node, node.expression);
    } else if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword) {
      add('dynamic', node, node.arguments[0]);
    } else if (ts.isCallExpression(node) && isRequire(node.expression)) {
      add('static', node, node.arguments[0]);
    }
    ts.forEachChild(node, visit);
  };
  visit(tree);
  for (const reference of tree.typeReferenceDirectives) {
    found.push({ kind: 'type', specifier: reference.fileName, line: lineOf(tree, reference.pos) });
  }
  return found;
}

/** `require('x')` and `require.resolve('x')`, whoever made that `require`. */
function isRequire(callee: ts.Expression): boolean {
  if (ts.isPropertyAccessExpression(callee)) return callee.name.text === 'resolve' && isRequire(callee.expression);
  return ts.isIdentifier(callee) && callee.text === 'require';
}

function lineOf(tree: ts.SourceFile, position: number): number {
  return tree.getLineAndCharacterOfPosition(position).line + 1;
}
