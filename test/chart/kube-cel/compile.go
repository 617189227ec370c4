package main

import (
	"encoding/json"
	"fmt"
	"slices"

	celgo "github.com/google/cel-go/cel"
	v1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/admission/plugin/cel"
	"k8s.io/apiserver/pkg/admission/plugin/webhook/matchconditions"
	"k8s.io/apiserver/pkg/cel/environment"
)

// A judge is a policy, or the match conditions of one webhook.
type judge struct {
	name     string
	compiled int
	errors   []string
	ignores  bool

	conditions  cel.ConditionEvaluator
	validations []v1.Validation
	evaluator   cel.ConditionEvaluator
	messages    cel.ConditionEvaluator
	audits      cel.ConditionEvaluator
}

type expression struct {
	name, text string
	returns    []*celgo.Type
}

func (e *expression) GetName() string            { return e.name }
func (e *expression) GetExpression() string      { return e.text }
func (e *expression) ReturnTypes() []*celgo.Type { return e.returns }

// judgesOf reads a policy or a webhook configuration; other kinds have none.
func judgesOf(raw json.RawMessage, env *environment.EnvSet) ([]judge, error) {
	var meta metav1.TypeMeta
	if err := json.Unmarshal(raw, &meta); err != nil {
		return nil, err
	}
	switch meta.Kind {
	case "ValidatingAdmissionPolicy":
		var policy v1.ValidatingAdmissionPolicy
		if err := json.Unmarshal(raw, &policy); err != nil {
			return nil, err
		}
		one, err := policyJudge(policy, env)
		return []judge{one}, err
	case "ValidatingWebhookConfiguration", "MutatingWebhookConfiguration":
		var configuration v1.ValidatingWebhookConfiguration
		if err := json.Unmarshal(raw, &configuration); err != nil {
			return nil, err
		}
		var judges []judge
		for _, webhook := range configuration.Webhooks {
			judges = append(judges, webhookJudge(webhook, env))
		}
		return judges, nil
	}
	return nil, nil
}

// webhookJudge compiles as the accessors of k8s.io/apiserver/pkg/admission/plugin/webhook do.
func webhookJudge(webhook v1.ValidatingWebhook, env *environment.EnvSet) judge {
	one := judge{name: webhook.Name}
	accessors := conditionsOf(webhook.MatchConditions)
	options := cel.OptionalVariableDeclarations{HasAuthorizer: true}
	one.check(cel.NewCompiler(env), accessors, options)
	one.conditions = cel.NewConditionCompiler(env).CompileCondition(accessors, options, environment.StoredExpressions)
	return one
}

// policyJudge compiles as compilePolicy of k8s.io/apiserver/pkg/admission/plugin/policy/validating does; that package
// itself would bring every informer of client-go.
func policyJudge(policy v1.ValidatingAdmissionPolicy, env *environment.EnvSet) (judge, error) {
	spec := policy.Spec
	one := judge{name: policy.Name, validations: spec.Validations, ignores: spec.FailurePolicy != nil && *spec.FailurePolicy == v1.Ignore}
	named := cel.OptionalVariableDeclarations{HasParams: spec.ParamKind != nil, HasAuthorizer: true}
	unauthorized := cel.OptionalVariableDeclarations{HasParams: named.HasParams}
	conditions := conditionsOf(spec.MatchConditions)
	validations, messages := []cel.ExpressionAccessor{}, []cel.ExpressionAccessor{}
	for _, validation := range spec.Validations {
		validations = append(validations, &expression{text: validation.Expression, returns: []*celgo.Type{celgo.BoolType}})
		var message cel.ExpressionAccessor
		if validation.MessageExpression != "" {
			message = &expression{text: validation.MessageExpression, returns: []*celgo.Type{celgo.StringType}}
		}
		messages = append(messages, message)
	}
	audits := []cel.ExpressionAccessor{}
	for _, annotation := range spec.AuditAnnotations {
		audits = append(audits, &expression{text: annotation.ValueExpression, returns: []*celgo.Type{celgo.StringType, celgo.NullType}})
	}
	for _, mode := range []environment.Type{environment.NewExpressions, environment.StoredExpressions} {
		compiler, err := cel.NewCompositedCompiler(env)
		if err != nil {
			return judge{}, err
		}
		for _, variable := range spec.Variables {
			accessor := &expression{variable.Name, variable.Expression, []*celgo.Type{celgo.AnyType, celgo.DynType}}
			result := compiler.CompileAndStoreVariable(accessor, named, mode)
			if mode == environment.NewExpressions {
				one.note(result)
			}
		}
		if mode == environment.NewExpressions {
			one.check(compiler, slices.Concat(conditions, validations, audits), named)
			one.check(compiler, messages, unauthorized)
			continue
		}
		one.conditions = compiler.CompileCondition(conditions, named, mode)
		one.evaluator = compiler.CompileCondition(validations, named, mode)
		one.messages = compiler.CompileCondition(messages, unauthorized, mode)
		one.audits = compiler.CompileCondition(audits, named, mode)
	}
	return one, nil
}

func conditionsOf(conditions []v1.MatchCondition) []cel.ExpressionAccessor {
	accessors := []cel.ExpressionAccessor{}
	for i := range conditions {
		accessors = append(accessors, (*matchconditions.MatchCondition)(&conditions[i]))
	}
	return accessors
}

// check compiles as the server does when the object is applied: with the functions of its compatibility version.
func (j *judge) check(compiler cel.Compiler, accessors []cel.ExpressionAccessor, options cel.OptionalVariableDeclarations) {
	for _, accessor := range accessors {
		if accessor != nil {
			j.note(compiler.CompileCELExpression(accessor, options, environment.NewExpressions))
		}
	}
}

func (j *judge) note(result cel.CompilationResult) {
	j.compiled++
	if result.Error != nil {
		j.errors = append(j.errors, fmt.Sprintf("%s: %s: %s", j.name, result.ExpressionAccessor.GetExpression(), result.Error.Detail))
	}
}
