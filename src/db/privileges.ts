import type { NodePool } from './pool.ts';

/**
 * Row level security binds neither superusers nor, unless forced, owners. So a process that serves tenants refuses to
 * start as a role for which a policy could be without effect, or that could become such a role by SET ROLE: membership
 * counts, whether it is inherited or not.
 */
interface RoleFacts {
  role: string;
  superuser: boolean;
  bypasses: boolean;
  owns: string[];
}

const query = `
  select current_user::text as role,
    bool_or(r.rolsuper) as superuser,
    bool_or(r.rolbypassrls) as bypasses,
    array(
      select format('%I.%I', n.nspname, c.relname)
      from pg_class c join pg_namespace n on n.oid = c.relnamespace
      where n.nspname !~ '^pg_' and n.nspname <> 'information_schema' and pg_has_role(session_user, c.relowner, 'member')
      union all
      select format('schema %I', n.nspname) from pg_namespace n
      where n.nspname !~ '^pg_' and n.nspname <> 'information_schema' and pg_has_role(session_user, n.nspowner, 'member')
      limit 3
    ) as owns
  from pg_roles r where pg_has_role(session_user, r.oid, 'member')`;

/** What makes the role unfit, in words; empty when it is fit. */
export async function privilegeProblems(pool: NodePool): Promise<string[]> {
  const [facts] = await pool.ask<RoleFacts>(query);
  if (facts === undefined) return ['the role is not known to PostgreSQL'];
  return [
    ...(facts.superuser ? [`${facts.role} is a superuser, or may become one`] : []),
    ...(facts.bypasses ? [`${facts.role} has BYPASSRLS, or belongs to a role that has it`] : []),
    ...(facts.owns.length > 0
      ? [`${facts.role} owns, or belongs to a role that owns, ${facts.owns.join(', ')}`]
      : []),
  ];
}

/** @throws Error naming the reasons */
export async function requireUnprivileged(pool: NodePool): Promise<void> {
  const problems = await privilegeProblems(pool);
  if (problems.length > 0) {
    throw new Error(
      `The role of DATABASE_URL can walk past row level security: ${problems.join('; ')}. Use tenantry_app.`,
    );
  }
}
