import type request from 'supertest';
import type { UserRole } from '../../src/auth/roles.ts';
import { password, type TestTenant, type TestTenantry } from './tenantry.ts';

/** A further user of a tenant, made by its owner. */
export interface Colleague {
  id: string;
  email: string;
  token: string;
  client: request.Agent;
}

let hired = 0;

export async function hire(service: TestTenantry, tenant: TestTenant, role: UserRole): Promise<Colleague> {
  hired += 1;
  const email = `${role}-${hired}@${tenant.slug.replaceAll('_', '-')}.test`;
  const created = await tenant.client.post('/v1/users').send({ email, password, role }).expect(201);
  const { body } = await service
    .api()
    .post('/v1/auth/login')
    .set('X-Tenant-ID', tenant.slug)
    .send({ email, password })
    .expect(200);
  const token = (body as { accessToken: string }).accessToken;
  return {
    id: (created.body as { id: string }).id,
    email,
    token,
    client: service.api().auth(token, { type: 'bearer' }),
  };
}
