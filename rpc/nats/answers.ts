/** Questions and answers in JSON, whatever carries them: a failure travels as its code and becomes its class again. */

import { MalformedRequest, asMraftError, errorFromCode, type ErrorDetails } from '../wire/errors.ts';

/** Answers one question; what it throws is answered by its code. */
export type Answerer = (question: unknown) => unknown;

interface WireFailure {
  readonly code: string;
  readonly message: string;
  readonly retryable: boolean;
  readonly details?: ErrorDetails;
}

/** What is sent back to a question. Never rejects. */
export async function answerTo(question: string, answer: Answerer): Promise<string> {
  try {
    return JSON.stringify({ answer: (await answer(parseQuestion(question))) ?? null });
  } catch (thrown) {
    return failureText(thrown);
  }
}

/** The answer to a question that failed. */
export function failureText(thrown: unknown): string {
  return JSON.stringify({ error: wireFailure(thrown) });
}

/** The answer in what came back. @throws what the other side threw, MalformedRequest */
export function readAnswer(text: string): unknown {
  const { error, answer } = parseAnswer(text);
  if (error === undefined) return answer;
  const { code, message, details } = error;
  throw errorFromCode(String(code), String(message), typeof details === 'object' ? details : {});
}

function parseAnswer(text: string): { readonly error?: WireFailure; readonly answer?: unknown } {
  try {
    return JSON.parse(text) as { error?: WireFailure; answer?: unknown };
  } catch (cause) {
    throw new MalformedRequest('the answer is no JSON', { cause });
  }
}

function parseQuestion(text: string): unknown {
  if (text === '') return {};
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new MalformedRequest(`the question is no JSON: ${(cause as Error).message}`, { cause });
  }
}

function wireFailure(thrown: unknown): WireFailure {
  const { code, message, retryable, details } = asMraftError(thrown);
  const { field, regionId, leaderNodeId } = details;
  const told: ErrorDetails = {
    ...(field === undefined ? {} : { field }),
    ...(regionId === undefined ? {} : { regionId }),
    ...(leaderNodeId === undefined ? {} : { leaderNodeId }),
  };
  return { code, message, retryable, details: told };
}
