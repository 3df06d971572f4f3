import { apiKey } from './features/api-keys/schema.ts';
import { auditEvent } from './features/audit-events/schema.ts';
import { orderOperations } from './features/orders/openapi.ts';
import { order } from './features/orders/schema.ts';
import { product } from './features/products/schema.ts';
import { authOperations, meOperations } from './features/sessions/openapi.ts';
import { user } from './features/users/schema.ts';
import type { OpenApiDocument } from './http/openapi/document.ts';
import type { DescribedMount, Operations } from './http/openapi/operation.ts';
import { resourceOperations } from './http/openapi/resource-operations.ts';
import {
  docsOperations,
  healthOperations,
  jwksOperations,
  openApiOperations,
} from './http/openapi/service-operations.ts';
import type { Resource } from './http/resource.ts';
import { build } from './version.ts';

/** A new one is one line here. */
const resources: readonly Resource<unknown, unknown, unknown>[] = [user, product, order, apiKey, auditEvent];
/** Of resources that have more than the usual ones. */
const more: Readonly<Record<string, () => Operations>> = { orders: orderOperations };

/** The description of the tenant API: for each path of `tenantMounts` (build.ts), what is there. */
const mounts: readonly DescribedMount[] = [
  { path: '/v1/auth', operations: () => authOperations },
  { path: '/v1/me', operations: meOperations },
  ...resources.map((resource) => ({
    path: `/v1/${resource.name}`,
    operations: () => more[resource.name]?.() ?? resourceOperations(resource),
  })),
  { path: '/.well-known', operations: () => jwksOperations },
  { path: '', operations: () => healthOperations },
  { path: '/openapi.json', operations: () => openApiOperations },
  { path: '/docs', operations: () => docsOperations },
];

const tags = [
  { name: 'Sessions', description: 'Logging in and out, and the user who asks.' },
  ...resources.map(({ docs }) => ({ name: docs.tag, description: docs.about })),
  { name: 'Service', description: 'What has to do with no tenant.' },
];

const description = `One tenant's users, products and orders. The tenant comes from the credential; what belongs to another
one is not found.

- Errors are \`application/problem+json\` (RFC 9457) with a \`code\` that stays.
- Bodies and queries are strict: what is not known is refused with 400.
- GET is answered to HEAD, too; OPTIONS tells in \`Allow\` what an address takes, and what it does not is 405.
- A read that follows a write of the same actor has it; \`Consistency-Token\` carries that to others.`;

/** Loads what makes documents when it is first called. */
export async function describeTenantApi(): Promise<OpenApiDocument> {
  const { openApiDocument } = await import('./http/openapi/document.ts');
  const info = {
    title: 'Tenantry: the tenant API',
    version: build,
    description,
    license: { name: 'MIT', identifier: 'MIT' },
  };
  return openApiDocument({ info, tags, mounts });
}
