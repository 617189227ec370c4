/** Why a container could not be started; its status has the reason. */
export class StartError extends Error {
  readonly reason: string
  constructor(reason: string, message: string) {
    super(message)
    this.reason = reason
  }
}

/** The pod requests something that cannot be provided: status `CreateContainerConfigError`, retried with back-off. */
export class ContainerConfigError extends StartError {
  constructor(message: string) {
    super('CreateContainerConfigError', message)
  }
}
