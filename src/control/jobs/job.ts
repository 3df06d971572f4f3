import type { WriteSession } from '../../db/index.ts';

/** Long work of the control plane: what it is, and what the code that does it may count on. */
export const jobStatuses = ['queued', 'running', 'succeeded', 'failed', 'cancelled'] as const;
export type JobStatus = (typeof jobStatuses)[number];

export interface JobProgress {
  done: number;
  /** Null while it is not known. */
  total: number | null;
  /** What is counted: `rows`, `schemas`, … */
  unit: string | null;
}

export interface JobView {
  id: string;
  kind: string;
  /** Id of the tenant it is about; null for the whole fleet. */
  tenant: string | null;
  status: JobStatus;
  progress: JobProgress;
  /** How often it has been begun. */
  attempts: number;
  cancelRequested: boolean;
  /** What it made; its kind knows the shape. */
  result: object | null;
  /** Why it failed, or why it will be run again. */
  error: string | null;
  createdAt: string;
  startedAt: string | null;
  finishedAt: string | null;
}

/**
 * Does the work of one kind. A process may die in it at any place, and another one then begins it again: what has been
 * done is either found in the database or in `run.state`.
 *
 * @returns what is kept as the job's result
 * @throws anything: the job is run again after a pause, a few times; JobRefused: it is not
 */
export type JobHandler = (run: JobRun) => Promise<object>;

/** Kind → what does it. Other parts of the control plane add theirs in build.ts. */
export type JobHandlers = Readonly<Record<string, JobHandler>>;

export interface JobRun {
  readonly id: string;
  readonly tenant: string | undefined;
  readonly input: Readonly<Record<string, unknown>>;
  /** As it was saved last, by this run or by one before it. `{}` at first. */
  readonly state: Readonly<Record<string, unknown>>;
  /**
   * Aborted when the work is to stop soon: it was cancelled, the process is stopping, or another one has taken it over.
   * What the handler throws then does not matter.
   */
  readonly signal: AbortSignal;
  /**
   * To be called in a transaction of the work, any transaction as tenantry_owner: keeps state and progress with its
   * effect, and makes sure that nobody else has taken the job over, so that no two processes do the same work.
   *
   * @throws JobLost
   */
  save(session: WriteSession, saved: Saved): Promise<void>;
}

export interface Saved {
  /** Replaces what was there. */
  state?: Record<string, unknown>;
  progress?: JobProgress;
}

/** The job cannot be done, now or later: it fails without being run again. */
export class JobRefused extends Error {}

/** Why `run.signal` is aborted, when it was cancelled. */
export class JobCancelled extends Error {}

/** Another process does the job by now. */
export class JobLost extends Error {}
