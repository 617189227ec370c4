/** Why a container could not be started; the reason is what its status says. */
export class StartError extends Error {
  readonly reason: string
  constructor(reason: string, message: string) {
    super(message)
    this.reason = reason
  }
}

/** The pod asks for something that cannot be given: status `CreateContainerConfigError`, tried again with back-off. */
export class ContainerConfigError extends StartError {
  constructor(message: string) {
    super('CreateContainerConfigError', message)
  }
}
