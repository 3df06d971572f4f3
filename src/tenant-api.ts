import { apiKeyOperations } from './features/api-keys/openapi.ts';
import { auditEventOperations } from './features/audit-events/openapi.ts';
import { orderOperations } from './features/orders/openapi.ts';
import { productOperations } from './features/products/openapi.ts';
import { authOperations, meOperations } from './features/sessions/openapi.ts';
import { userOperations } from './features/users/openapi.ts';
import type { OpenApiDocument } from './http/openapi/document.ts';
import type { DescribedMount } from './http/openapi/operation.ts';
import {
  docsOperations,
  healthOperations,
  jwksOperations,
  openApiOperations,
} from './http/openapi/service-operations.ts';
import { build } from './version.ts';

/** The description of the tenant API: for each path of `tenantMounts` (build.ts), what is there. */
const mounts: readonly DescribedMount[] = [
  { path: '/v1/auth', operations: () => authOperations },
  { path: '/v1/me', operations: meOperations },
  { path: '/v1/users', operations: userOperations },
  { path: '/v1/products', operations: productOperations },
  { path: '/v1/orders', operations: orderOperations },
  { path: '/v1/api-keys', operations: apiKeyOperations },
  { path: '/v1/audit-events', operations: auditEventOperations },
  { path: '/.well-known', operations: () => jwksOperations },
  { path: '', operations: () => healthOperations },
  { path: '/openapi.json', operations: () => openApiOperations },
  { path: '/docs', operations: () => docsOperations },
];

const tags = [
  { name: 'Sessions', description: 'Logging in and out, and the user who asks.' },
  { name: 'Users', description: 'Who may log in to the tenant, and as what.' },
  { name: 'Products', description: 'What is sold, and how many there are.' },
  { name: 'Orders', description: 'What has been sold.' },
  { name: 'API keys', description: 'Credentials for programs.' },
  { name: 'Audit', description: 'Who changed what.' },
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
