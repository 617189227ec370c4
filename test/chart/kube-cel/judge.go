package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	celtypes "github.com/google/cel-go/common/types"
	admissionv1 "k8s.io/api/admission/v1"
	v1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/plugin/cel"
	"k8s.io/apiserver/pkg/admission/plugin/webhook/matchconditions"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	apiservercel "k8s.io/apiserver/pkg/cel"
)

type verdict struct {
	// Outcome of the match conditions: match, no-match or error.
	Outcome    string      `json:"outcome"`
	Violations []violation `json:"violations"`
	// MatchCost and Cost are what evaluation took of the server's budgets of 2,500,000 and 10,000,000.
	MatchCost int64 `json:"matchCost"`
	Cost      int64 `json:"cost"`
}

type violation struct {
	Reason  metav1.StatusReason `json:"reason"`
	Message string              `json:"message"`
}

// metered records what an evaluator took of its budget.
type metered struct {
	cel.ConditionEvaluator
	spent *int64
}

func (m metered) ForInput(ctx context.Context, attributes *admission.VersionedAttributes, request *admissionv1.AdmissionRequest, bindings cel.OptionalVariableBindings, namespace *corev1.Namespace, budget int64) ([]cel.EvaluationResult, int64, error) {
	results, remaining, err := m.ConditionEvaluator.ForInput(ctx, attributes, request, bindings, namespace, budget)
	*m.spent += budget - max(remaining, 0)
	return results, remaining, err
}

// judge decides as the Validate of k8s.io/apiserver/pkg/admission/plugin/policy/validating does.
func (j *judge) judge(attributes *admission.VersionedAttributes, namespace *corev1.Namespace) verdict {
	ctx := context.Background()
	result := verdict{Outcome: "match", Violations: []violation{}}
	failing := func(message string) {
		if !j.ignores {
			result.Violations = append(result.Violations, violation{metav1.StatusReasonInvalid, message})
		}
	}
	fails := v1.Fail
	matcher := matchconditions.NewMatcher(metered{j.conditions, &result.MatchCost}, &fails, "", "", j.name)
	matched := matcher.Match(ctx, attributes, nil, nil)
	if matched.Error != nil {
		result.Outcome = "error"
		failing(matched.Error.Error())
		return result
	}
	if !matched.Matches {
		result.Outcome = "no-match"
		return result
	}
	if j.evaluator == nil {
		return result
	}
	request := cel.CreateAdmissionRequest(attributes.Attributes, metav1.GroupVersionResource(attributes.GetResource()), metav1.GroupVersionKind(attributes.VersionedKind))
	shown := cel.CreateNamespaceObject(namespace)
	budget := int64(celconfig.RuntimeCELCostBudget)
	decisions, budget, err := metered{j.evaluator, &result.Cost}.ForInput(ctx, attributes, request, cel.OptionalVariableBindings{}, shown, budget)
	if err != nil {
		failing(err.Error())
		return result
	}
	messages, _, err := metered{j.messages, &result.Cost}.ForInput(ctx, attributes, request, cel.OptionalVariableBindings{}, shown, budget)
	for i, decision := range decisions {
		switch {
		case decision.Error != nil:
			failing(decision.Error.Error())
		case errors.Is(err, apiservercel.ErrInternal) || errors.Is(err, apiservercel.ErrOutOfBudget):
			failing(fmt.Sprintf("failed messageExpression: %s", err))
		case decision.EvalResult != celtypes.True:
			reason := metav1.StatusReasonInvalid
			if j.validations[i].Reason != nil {
				reason = *j.validations[i].Reason
			}
			message := ""
			if i < len(messages) {
				message = written(messages[i])
			}
			result.Violations = append(result.Violations, violation{reason, messageOf(message, j.validations[i])})
		}
	}
	annotations, _, err := j.audits.ForInput(ctx, attributes, request, cel.OptionalVariableBindings{}, shown, celconfig.RuntimeCELCostBudget)
	if err != nil {
		failing(err.Error())
	}
	for _, annotation := range annotations {
		if annotation.Error != nil {
			failing(annotation.Error.Error())
		}
	}
	return result
}

// written is the result of a messageExpression; empty where the server would not use it.
func written(result cel.EvaluationResult) string {
	if result.Error != nil || result.EvalResult == nil {
		return ""
	}
	message, _ := result.EvalResult.Value().(string)
	message = strings.TrimSpace(message)
	if len(message) > celconfig.MaxEvaluatedMessageExpressionSizeBytes || strings.Contains(message, "\n") {
		return ""
	}
	return message
}

// messageOf falls back to the static message, and then to the expression.
func messageOf(message string, validation v1.Validation) string {
	if message == "" {
		message = strings.TrimSpace(validation.Message)
	}
	if message == "" {
		message = "failed expression: " + strings.TrimSpace(validation.Expression)
	}
	return message
}
