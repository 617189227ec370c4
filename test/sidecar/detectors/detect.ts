/** Prints as one line of JSON what OpenTelemetry's EC2 detector finds, or `{}` if it gives up. */
import { awsEc2Detector } from '@opentelemetry/resource-detector-aws'

const { attributes = {} } = awsEc2Detector.detect()
const found = await Promise.all(Object.entries(attributes).map(async ([name, value]) => [name, await value]))
console.log(JSON.stringify(Object.fromEntries(found)))
