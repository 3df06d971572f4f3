import { randomBytes } from 'node:crypto';
import type { ClientBase } from 'pg';
import type { Knex } from 'knex';
import { schemaName, sessionOn } from '../../../db/index.ts';
import type { Ladder } from '../ladder.ts';
import type { Script } from '../script.ts';
import { readCatalogs } from './catalog.ts';
import type { Catalog } from './entry.ts';
import { rehearse } from './rehearsal.ts';

/** What a schema looks like that has these steps and nothing else. */
export interface Templates {
  /** @returns the reason, where one cannot be made: a step that fails here, or that must see itself committed */
  of(steps: readonly string[]): Promise<Catalog | string>;
}

/**
 * Makes a schema, climbs, reads its catalog and rolls all of it back: one transaction for each version that is asked for,
 * and each once.
 */
export function createTemplates(adminUrl: string, ladder: Ladder): Templates {
  const made = new Map<string, Promise<Catalog | string>>();

  async function make(steps: ReadonlySet<string>): Promise<Catalog> {
    const scripts = (await ladder.scripts()).filter(({ step }) => steps.has(step));
    const schema = schemaName(`tenant_drift_x${randomBytes(8).toString('hex')}`);
    return rehearse(adminUrl, schema, async (client, knex) => {
      for (const script of scripts) await apply(script, client, knex);
      const catalogs = await readCatalogs(sessionOn(client, undefined), [schema]);
      return catalogs.get(schema) ?? new Map();
    });
  }

  async function apply(script: Script, client: ClientBase, knex: Knex): Promise<void> {
    if (script.opaque !== undefined) {
      const { up } = await ladder.source.getMigration(script.step);
      await up(knex);
      return;
    }
    for (const { sql, bindings } of script.statements) {
      const text = script.transactional ? sql : withinTransaction(sql);
      await (bindings.length === 0 ? client.query(text) : client.query(text, [...bindings]));
    }
  }

  return {
    of(steps) {
      const key = steps.toSorted().join(' ');
      const known = made.get(key) ?? make(new Set(steps)).catch((error: unknown) => (error as Error).message);
      made.set(key, known);
      return known;
    },
  };
}

const concurrently =
  /^((?:\s|--[^\n]*\n|\/\*.*?\*\/)*(?:create\s+(?:unique\s+)?index|drop\s+index|reindex\s+\w+))\s+concurrently\b/is;

/** The same without what no transaction allows: in a schema that nobody else sees there is nobody to wait for. */
export function withinTransaction(sql: string): string {
  if (/^\s*(vacuum|analyze)\b/i.test(sql)) return '';
  return sql
    .replace(concurrently, '$1')
    .replace(/\b(detach\s+partition\s+\S+)\s+(?:concurrently|finalize)\b/i, '$1');
}
